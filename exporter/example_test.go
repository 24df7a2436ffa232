package exporter_test

import (
	"fmt"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
)

// What the whole of Phi-4-mini takes on disk, from its config alone.
func ExampleNewPlan() {
	cfg, err := checkpoint.ParseConfig(checkpoint.ConfigFile, fixtures.Phi4MiniConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := exporter.NewPlan(cfg, "phi4mini", exporter.DefaultLayout(), exporter.DefaultRecipe(), exporter.DefaultHeadShards)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range plan.Shards {
		fmt.Printf("%s %d MB\n", s.Package, s.Bytes/1e6)
	}
	// Output:
	// phi4mini_layers30_32_int8.mlpackage 201 MB
	// phi4mini_layers20_24_int8.mlpackage 403 MB
	// phi4mini_layers24_30_int8.mlpackage 604 MB
	// phi4mini_layers0_20_int8.mlpackage 2016 MB
}
