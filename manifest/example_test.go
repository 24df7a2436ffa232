package manifest_test

import (
	"fmt"

	"lockstep/manifest"
)

// A run whose residency could not be measured is partial, which is never pass.
func ExampleOverall() {
	fmt.Println(manifest.Overall([]manifest.Check{
		{Name: "package", Result: manifest.Pass},
		{Name: "residency", Result: manifest.NotMeasured},
	}))
	// Output: partial
}

// The strict decoder names the place of what it does not know.
func ExampleDecodeRecord() {
	_, err := manifest.DecodeRecord([]byte(`{"schema": "lockstep.record/1", "model": {"nmae": "nano"}}`))
	fmt.Println(err)
	_, err = manifest.DecodeRecord([]byte(`{"schema": "lockstep.record/9", "speed": 11}`))
	fmt.Println(err)
	// Output:
	// $.model.nmae: unknown field
	// $.schema: another schema version: wanted "lockstep.record/1", found "lockstep.record/9"
}
