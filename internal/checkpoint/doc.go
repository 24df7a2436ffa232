// Package checkpoint reads a Phi-3-family checkpoint: its config, typed and
// checked, and its weights behind one [Tensor] reader that streams rows. It
// has no policy: it knows where each weight is and what shape the config gives
// it, not what anyone does with it.
//
// A checkpoint is config.json beside either model.safetensors or the files
// that model.safetensors.index.json names; or one GGUF file, whose keys are the
// config. Tensor names are mapped to roles in one table per container
// (names.go).
package checkpoint
