// Package report tells people what a suite's runs came to: it gathers the
// newest verdict of each shard and plane of output directories and renders them
// as Markdown for a pull request.
//
// It judges nothing and adds nothing: every word about a package is a
// verdict's. What there is no verdict of, or only one that no longer counts, is
// named, and never reads as a pass.
package report
