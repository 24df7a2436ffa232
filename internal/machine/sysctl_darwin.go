package machine

import "golang.org/x/sys/unix"

func sysctl(name string) ([]byte, error) { return unix.SysctlRaw(name) }
