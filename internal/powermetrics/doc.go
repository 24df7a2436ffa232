// Package powermetrics reads what macOS's powermetrics prints of the Neural
// Engine's power, and runs it. What the figures mean is the caller's business.
package powermetrics
