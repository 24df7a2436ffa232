package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lockstep/internal/checkpoint"
)

// generationConfig is the file beside config.json that says how to generate; its
// tokens come before config.json's.
const generationConfig = "generation_config.json"

// tokenFlags say which tokens begin and end a text.
type tokenFlags struct {
	Checkpoint string `help:"Directory with config.json, and generation_config.json if there is one, from which the tokens are read." placeholder:"PATH"`
	EOSTokenID []int  `name:"eos-token-id" help:"Token that ends a text, in place of the checkpoint's; further ones end it, too." placeholder:"ID"`
	BOSTokenID *int   `name:"bos-token-id" help:"Token that begins a text, in place of the checkpoint's." placeholder:"ID"`
}

// tokenIDs are the tokens that end a text, the first being the one, and the one
// that begins it.
type tokenIDs struct {
	eos []int
	bos *int
}

// tokens are the flags', else the checkpoint's, whose config.json must have the
// given digest.
func (f tokenFlags) tokens(configSHA256 string) (tokenIDs, error) {
	ids, err := f.named(configSHA256)
	if err != nil {
		return ids, err
	}
	missing := func(flag, key string) error {
		found := "neither"
		if f.Checkpoint != "" {
			found = "no " + key + " in it"
		}
		return &flagError{flag, "a token, or --checkpoint with a config that has one", found}
	}
	switch {
	case len(ids.eos) == 0:
		return ids, missing("--eos-token-id", "eos_token_id")
	case ids.bos == nil:
		return ids, missing("--bos-token-id", "bos_token_id")
	}
	return ids, nil
}

// named are the tokens that the flags or the checkpoint name; the others stay
// unknown.
func (f tokenFlags) named(configSHA256 string) (tokenIDs, error) {
	ids := tokenIDs{f.EOSTokenID, f.BOSTokenID}
	if f.Checkpoint == "" {
		return ids, nil
	}
	want := "a directory with " + checkpoint.ConfigFile + " (of a GGUF file, name the tokens by the flags)"
	if err := wantDirectory("--checkpoint "+f.Checkpoint, f.Checkpoint, want); err != nil {
		return ids, err
	}
	if err := f.read(&ids, configSHA256); err != nil {
		return ids, fmt.Errorf("--checkpoint %s: %w", f.Checkpoint, err)
	}
	return ids, nil
}

// read fills in what the flags leave open.
func (f tokenFlags) read(ids *tokenIDs, configSHA256 string) error {
	config, err := os.ReadFile(filepath.Join(f.Checkpoint, checkpoint.ConfigFile))
	if err != nil {
		return err
	}
	if found := fmt.Sprintf("%x", sha256.Sum256(config)); found != configSHA256 {
		return fmt.Errorf("another checkpoint: want the record's %s of sha256 %s, found %s", checkpoint.ConfigFile, configSHA256, found)
	}
	generation, err := os.ReadFile(filepath.Join(f.Checkpoint, generationConfig))
	if errors.Is(err, fs.ErrNotExist) {
		generation, err = []byte("{}"), nil
	}
	if err != nil {
		return err
	}
	if err := ids.fill(generation); err != nil {
		return fmt.Errorf("%s: %w", generationConfig, err)
	}
	if err := ids.fill(config); err != nil {
		return fmt.Errorf("%s: %w", checkpoint.ConfigFile, err)
	}
	return nil
}

// fill takes from a config what is not known yet. An eos_token_id is a token or
// a list of them; null is none.
func (ids *tokenIDs) fill(config []byte) error {
	var keys struct {
		EOS json.RawMessage `json:"eos_token_id"`
		BOS *int            `json:"bos_token_id"`
	}
	if err := json.Unmarshal(config, &keys); err != nil {
		return err
	}
	if len(ids.eos) == 0 && len(keys.EOS) > 0 {
		var one *int
		if json.Unmarshal(keys.EOS, &one) == nil {
			if one != nil {
				ids.eos = []int{*one}
			}
		} else if err := json.Unmarshal(keys.EOS, &ids.eos); err != nil {
			return fmt.Errorf("eos_token_id: want a token or a list of them, found %.80s", keys.EOS)
		}
	}
	if ids.bos == nil {
		ids.bos = keys.BOS
	}
	return nil
}
