package manifest

import _ "embed" // the schemas beside the types

//go:embed record.schema.json
var recordJSONSchema string

//go:embed verdict.schema.json
var verdictJSONSchema string

//go:embed runtime.schema.json
var runtimeJSONSchema string

//go:embed plans.schema.json
var plansJSONSchema string

//go:embed probe.schema.json
var probeJSONSchema string

// RecordJSONSchema returns the JSON Schema (draft 2020-12) of lockstep.json. It
// knows form alone; DecodeRecord also checks what follows from other fields.
func RecordJSONSchema() []byte { return []byte(recordJSONSchema) }

// VerdictJSONSchema returns the JSON Schema (draft 2020-12) of a verdict.
func VerdictJSONSchema() []byte { return []byte(verdictJSONSchema) }

// RuntimeJSONSchema returns the JSON Schema (draft 2020-12) of a runtime
// manifest.
func RuntimeJSONSchema() []byte { return []byte(runtimeJSONSchema) }

// PlansJSONSchema returns the JSON Schema (draft 2020-12) of recorded compute
// plans.
func PlansJSONSchema() []byte { return []byte(plansJSONSchema) }

// ProbeJSONSchema returns the JSON Schema (draft 2020-12) of a probe.
func ProbeJSONSchema() []byte { return []byte(probeJSONSchema) }
