package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"lockstep/coreml"
	"lockstep/manifest"
)

// The judged checks of a shard, in the order in which they are decided.
const (
	CheckPackage     = "package"
	CheckLint        = "lint"
	CheckEquivalence = "equivalence"
	CheckOracle      = "oracle"
	CheckParity      = "parity"
	CheckResidency   = "residency"
)

// dependencies are the checks without which a check means nothing.
var dependencies = map[string][]string{
	CheckPackage:     {},
	CheckLint:        {CheckPackage},
	CheckEquivalence: {CheckPackage},
	CheckOracle:      {CheckPackage},
	CheckParity:      {CheckPackage},
	CheckResidency:   {CheckPackage},
}

// checkOrder lists the checks as verdicts do.
func checkOrder() []string {
	return []string{CheckPackage, CheckLint, CheckEquivalence, CheckOracle, CheckParity, CheckResidency}
}

// Case is one judged observation.
type Case struct {
	Check       string // one of the checks
	Name        string // unique within its check: lower_snake, then key=value
	Description string // what is wanted
	run         func(context.Context, *Suite) Outcome
}

// ID is "<check>/<name>": the subtest's name and the catalogue's entry.
func (c Case) ID() string { return c.Check + "/" + c.Name }

// Outcome is what a case came to. Reason is empty for a pass.
type Outcome struct {
	Result   manifest.Result
	Reason   string
	Evidence []manifest.Evidence
}

func pass(evidence ...manifest.Evidence) Outcome {
	return Outcome{Result: manifest.Pass, Evidence: evidence}
}

func fail(reason string, evidence ...manifest.Evidence) Outcome {
	return Outcome{Result: manifest.Fail, Reason: reason, Evidence: evidence}
}

func failf(format string, args ...any) Outcome { return fail(fmt.Sprintf(format, args...)) }

func notMeasured(reason string, evidence ...manifest.Evidence) Outcome {
	return Outcome{Result: manifest.NotMeasured, Reason: reason, Evidence: evidence}
}

// broken is the outcome of an error. A cancelled run and a plane that broke say
// nothing about the package; anything else that keeps a case from its answer
// does.
func broken(err error) Outcome {
	for _, other := range []error{context.Canceled, context.DeadlineExceeded, coreml.ErrBroken, errHarness} {
		if errors.Is(err, other) {
			return Outcome{Result: manifest.Error, Reason: err.Error()}
		}
	}
	if errors.Is(err, errUntold) {
		return notMeasured(err.Error())
	}
	return fail(err.Error())
}

// errUntold means that there is nothing to hold the passes against.
var errUntold = errors.New("the package's weights cannot be told")

// errHarness marks errors of the suite itself: its own inputs, not the package.
var errHarness = errors.New("the harness broke")

// figure is a number as evidence.
func figure(name string, value float64, unit string) manifest.Evidence {
	return manifest.Evidence{Name: name, Value: manifest.NewFigure(value), Unit: unit}
}

// note is a text as evidence.
func note(name, text string) manifest.Evidence { return manifest.Evidence{Name: name, Text: text} }

// CatalogueDigest identifies a list of cases by their names and descriptions.
func CatalogueDigest(cases []Case) string {
	sum := sha256.New()
	for _, c := range cases {
		fmt.Fprintf(sum, "%s\t%s\n", c.ID(), c.Description)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
