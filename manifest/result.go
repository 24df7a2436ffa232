package manifest

import "slices"

// Result is the outcome of a case, a check or a run.
type Result string

// The results. Cases and checks have the first five; a run as a whole has
// pass, fail, error and partial.
const (
	Pass        Result = "pass"
	Fail        Result = "fail"
	NotMeasured Result = "not measured" // this machine or subject cannot tell
	NotRun      Result = "not run"      // something that it depends on failed
	Error       Result = "error"        // the harness broke; says nothing about the package
	Partial     Result = "partial"      // nothing failed, something is not measured
)

// OfCheck reports whether a case or a check can have this result.
func (r Result) OfCheck() bool {
	switch r {
	case Pass, Fail, NotMeasured, NotRun, Error:
		return true
	default:
		return false
	}
}

// OfRun reports whether a whole run can have this result.
func (r Result) OfRun() bool {
	switch r {
	case Pass, Fail, Error, Partial:
		return true
	default:
		return false
	}
}

// Combine returns the result of a check from those of its cases: the worst of
// error, fail, not run, not measured, pass in this order. Pass needs at least
// one case: what ran nothing did not pass, it is not run. A result that no case
// can have is an error.
func Combine(results ...Result) Result {
	for _, r := range results {
		if !r.OfCheck() {
			return Error
		}
	}
	for _, worst := range []Result{Error, Fail, NotRun, NotMeasured, Pass} {
		if slices.Contains(results, worst) {
			return worst
		}
	}
	return NotRun
}

// Overall returns a run's result from its checks: error if any is an error,
// fail if any failed, partial if any is not measured, pass if all passed. Not
// run only ever follows a failure, so without one it is an error, and so is a
// run of no checks.
func Overall(checks []Check) Result {
	results := make([]Result, len(checks))
	for i, c := range checks {
		results[i] = c.Result
	}
	switch Combine(results...) {
	case Pass:
		return Pass
	case Fail:
		return Fail
	case NotMeasured:
		return Partial
	default: // error, not run without a failure, nothing judged
		return Error
	}
}
