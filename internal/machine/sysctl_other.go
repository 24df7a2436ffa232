//go:build !darwin

package machine

import "errors"

func sysctl(string) ([]byte, error) { return nil, errors.New("this system has no sysctl") }
