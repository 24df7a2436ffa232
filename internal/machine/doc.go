// Package machine says what the machine is that a suite would run on, and what
// can be measured on it: the facts that decide it, read without changing
// anything, and a yes or no with its reasons for each thing that the suite
// measures.
//
// It asks the kernel and the file system through [Reader] alone, so that other
// machines than the one at hand can be diagnosed from fixtures. What it cannot
// tell is "not known", never a guess.
package machine
