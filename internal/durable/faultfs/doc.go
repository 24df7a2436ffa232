// Package faultfs holds file systems for tests alone: a wrapper that makes any
// single call of a durable.FS fail in a chosen way, and a file system in memory
// that can lose what was not synced, as a machine does that loses power.
package faultfs
