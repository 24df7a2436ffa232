//go:build !linux && !darwin

package conformance_test

// There are no workers on this system.
const brittleArg = "brittle-worker"

func runBrittle(string, string) int { return 1 }
