package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockstep/conformance"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// gate judges a subject's package, prints each check, and fills the column.
// fault is what came out otherwise than it must.
func (r *runner) gate(ctx context.Context, s subject, col *column) (fault, err error) {
	ck, err := checkpoint.OpenDir(r.checkpointDir())
	if err != nil {
		return nil, err
	}
	defer ck.Close() // opened for reading
	suite, err := conformance.NewSuite(conformance.Options{
		Dir: r.outDir(s), Layers: tail, Plane: reference.Plane{}, Checkpoint: ck, Subject: modelName, Lockstep: "(devel)",
		Command: fmt.Sprintf("lockstep gate --out %s --layers %s --checkpoint %s --plane %s", r.outDir(s), tail, r.checkpointDir(), manifest.PlaneReference),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, suite.Close()) }()
	cases, err := s.choose(suite.Cases())
	if err != nil {
		return nil, err
	}
	r.printf("gate    %s, %d of %d cases\n", s, len(cases), len(suite.Cases()))
	start := time.Now()
	for _, check := range conformance.Checks() {
		faults, err := r.judge(ctx, s, suite, casesOf(check, cases), col)
		if err != nil {
			return nil, err
		}
		fault = errors.Join(fault, faults)
	}
	col.set(rowGate, seconds(time.Since(start)))
	if !s.whole {
		return fault, nil // no verdict: part of the catalogue is none
	}
	verdict, err := suite.Verdict(ctx)
	if err != nil {
		return nil, err
	}
	col.passTimes(verdict.Metrics)
	path, err := conformance.WriteVerdict(r.outDir(s), *verdict)
	if err != nil {
		return nil, err
	}
	r.printf("  verdict     %-12s  %s\n", verdict.Result, path)
	if verdict.Result != manifest.Partial || verdict.Catalogue.Ran != verdict.Catalogue.Cases {
		fault = errors.Join(fault, fmt.Errorf("%s: verdict %q with %d of %d cases run, want %q with all",
			s, verdict.Result, verdict.Catalogue.Ran, verdict.Catalogue.Cases, manifest.Partial))
	}
	return fault, nil
}

func casesOf(check string, cases []conformance.Case) []conformance.Case {
	var of []conformance.Case
	for _, c := range cases {
		if c.Check == check {
			of = append(of, c)
		}
	}
	return of
}

// judge runs the cases of one check and prints its line.
func (r *runner) judge(ctx context.Context, s subject, suite *conformance.Suite, cases []conformance.Case, col *column) (fault, err error) {
	if len(cases) == 0 {
		return nil, nil
	}
	start := time.Now()
	var results []manifest.Result
	reason := ""
	for _, c := range cases {
		out := suite.RunCase(ctx, c)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		results = append(results, out.Result)
		if reason == "" {
			reason = out.Reason
		}
		if want := s.want(c); out.Result != want {
			fault = errors.Join(fault, fmt.Errorf("%s: %s is %q, want %q: %s", s, c.ID(), out.Result, want, out.Reason))
		}
		col.cosines(out.Evidence)
	}
	line := fmt.Sprintf("  %-10s  %-12s  %2d cases  %8s  %s", cases[0].Check, manifest.Combine(results...), len(results), seconds(time.Since(start)), reason)
	r.printf("%s\n", strings.TrimRight(line, " "))
	return fault, nil
}

// choose picks the cases of a subject: all of them, or what reads the package
// and one position in the middle of the cache.
func (s subject) choose(cases []conformance.Case) ([]conformance.Case, error) {
	if s.whole {
		return cases, nil
	}
	slots := s.recipe().Slots
	spots := []string{
		fmt.Sprintf("%s/seeded_cache/pos=%d", conformance.CheckOracle, slots/2),
		fmt.Sprintf("%s/t4_vs_4xt1/pos=%d/live=4", conformance.CheckParity, slots/2),
	}
	var chosen []conformance.Case
	for _, c := range cases {
		if c.Check == conformance.CheckPackage || c.Check == conformance.CheckLint || slices.Contains(spots, c.ID()) {
			chosen = append(chosen, c)
			spots = slices.DeleteFunc(spots, func(id string) bool { return id == c.ID() })
		}
	}
	if len(spots) > 0 {
		return nil, fmt.Errorf("the catalogue has no case %s", strings.Join(spots, ", "))
	}
	return chosen, nil
}

// want is the result that a case must have.
func (s subject) want(c conformance.Case) manifest.Result {
	switch {
	case c.Check == conformance.CheckResidency:
		return manifest.NotMeasured // the reference plane has no compute plan
	case s.norm == exporter.Prescaled && c.ID() == conformance.CheckLint+"/const":
		return manifest.Fail // eps/3072 is 0 in float16
	}
	return manifest.Pass
}
