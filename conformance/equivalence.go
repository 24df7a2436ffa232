package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"lockstep/conformance/terms"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// equivalenceCases prove, over hashes of terms in place of floats, what parity
// samples: for any weights, any inputs and any earlier caches. slots is 0 for a
// program without a cache.
func equivalenceCases(rows []int, slots int) []Case {
	var cases []Case
	for _, q := range terms.Questions(rows, slots) {
		cases = append(cases, Case{
			Check: CheckEquivalence, Name: q.String(), Description: claims[q.Claim],
			run: func(ctx context.Context, s *Suite) Outcome { return s.equivalence(ctx, q) },
		})
	}
	return cases
}

var claims = map[terms.Claim]string{
	terms.KeepsStep: "every output of the live rows and every slot of every state is the same term in the block as in single passes, for any weights, inputs and earlier states",
	terms.RowPlace:  "a row of the block is the same term as the first row of the same function with that row alone live, and so is every slot",
	terms.Causal:    "no row depends on a later token, or on what a slot held that the block writes or hides",
}

func (s *Suite) equivalence(ctx context.Context, q terms.Question) Outcome {
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		subject, _, _, err := terms.NewSubject(p.Model.Program, s.ownNames())
		if err != nil {
			return broken(err)
		}
		a, err := subject.Ask(ctx, q)
		switch {
		case errors.Is(err, terms.ErrUncovered):
			return notMeasured(err.Error())
		case err != nil:
			return broken(err)
		case a.Proof != nil && a.Proof.Difference != nil:
			return fail(a.Proof.Difference.Line(), pathEvidence(a.Proof.Difference)...)
		case a.Refuted != "":
			return fail(a.Refuted)
		}
		return pass(proofEvidence(a)...)
	})
}

// ownNames is how the package calls what the contract names; nil where the
// contract's names are used.
func (s *Suite) ownNames() map[string]string {
	if s.foreign == nil {
		return nil
	}
	return s.foreign.names
}

// pathEvidence is how a difference came about, from the element down.
func pathEvidence(d *terms.Difference) []manifest.Evidence {
	var out []manifest.Evidence
	for i, line := range d.Path {
		out = append(out, note(fmt.Sprintf("through_%02d", i+1), line))
	}
	return out
}

// proofEvidence is what was compared, or what each row depends on.
func proofEvidence(a *terms.Answer) []manifest.Evidence {
	if a.Proof != nil {
		return []manifest.Evidence{
			figure("outputs_compared", float64(a.Proof.Outputs), "1"),
			figure("state_elements_compared", float64(a.Proof.Slots), "1"),
			figure("operations", float64(a.Proof.Operations), "1"),
		}
	}
	header, rows, _ := strings.Cut(a.Dependence.String(), "\n")
	out := []manifest.Evidence{note("depends_on", strings.TrimSpace(header))}
	for i, row := range strings.Split(rows, "\n") {
		_, marks, _ := strings.Cut(row, " ")
		out = append(out, note(fmt.Sprintf("row_%d", i), strings.Join(strings.Fields(marks)[1:], " ")))
	}
	return out
}
