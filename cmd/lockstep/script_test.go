package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lockstep": main})
}

// TestScript runs the command line as a user does, on the bundled checkpoint:
// what works, and what every wrong input is answered with. The scripts have
// $NANO, $GGUF, $GOLDEN, $FOREIGN and $TOKENIZER for the fixtures, the commands of scriptCommands, and the
// condition [root].
func TestScript(t *testing.T) {
	fixtures, err := filepath.Abs("../../fixtures")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands(),
		Condition: func(cond string) (bool, error) {
			return cond == "root" && os.Geteuid() == 0, nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("NANO", filepath.Join(fixtures, "nano"))
			env.Setenv("GGUF", filepath.Join(fixtures, "gguf"))
			env.Setenv("FOREIGN", filepath.Join(fixtures, "foreign", "packages"))
			env.Setenv("TOKENIZER", filepath.Join(fixtures, "tokenizer", "tokenizer.json"))
			env.Setenv("GOLDEN", filepath.Join(fixtures, "golden", "golden.safetensors"))
			return nil
		},
	})
}
