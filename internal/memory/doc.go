// Package memory says how much memory a process has had at most.
package memory
