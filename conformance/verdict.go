package conformance

import (
	"fmt"
	"path/filepath"

	"lockstep/exporter"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

// WriteVerdict appends a verdict to its directory's and returns the new file's
// path. Earlier verdicts stay.
func WriteVerdict(dir string, v manifest.Verdict) (string, error) {
	text, err := manifest.EncodeVerdict(v)
	if err != nil {
		return "", err
	}
	prefix := exporter.VerdictPrefix(exporter.Range{Start: v.Shard.Start, End: v.Shard.End}, v.Plane)
	if v.Vocab != nil {
		prefix = exporter.HeadVerdictPrefix(exporter.Range{Start: v.Vocab.Start, End: v.Vocab.End}, v.Plane)
	}
	return durable.AppendNumbered(durable.OS{}, filepath.Join(dir, exporter.VerdictDir), prefix, exporter.VerdictExt, text)
}

// Fresh reports why a verdict no longer counts: its catalogue is not the one
// that this program has for its recipe and model. That a pass or a partial ran
// all of it, the verdict's own rules say; a fail need not have.
func Fresh(v manifest.Verdict, r manifest.Record) error {
	rec, err := exporter.RecipeOf(r.Recipe)
	if err != nil {
		return err
	}
	known := func(golden bool) bool {
		cases := catalogue(rec, v.Shard.End-v.Shard.Start, r.Model.Dims.Hidden, golden)
		if v.Vocab != nil {
			cases = headCatalogue(rec, r.Model.Dims.Hidden, golden)
		}
		return CatalogueDigest(cases) == v.Catalogue.Digest
	}
	if !known(false) && !known(true) {
		return fmt.Errorf("its catalogue %s is not this program's", v.Catalogue.Digest)
	}
	return nil
}
