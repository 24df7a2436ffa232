//go:build !darwin

package machine

func sysctl(string) ([]byte, error) { return nil, errNoSysctl }
