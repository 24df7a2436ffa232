package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lockstep/manifest"
)

// MutantsSchema is the schema version of a tally's text.
const MutantsSchema = "lockstep.mutants/1"

// MutantsExt ends the file name of a tally, <prefix><number>.json.
const MutantsExt = ".json"

// Mutants counts what became of the mutants of one test run.
type Mutants struct {
	Schema string `json:"schema"` // MutantsSchema
	Name   string `json:"name"`   // lower_snake
	// Mutants is how many there are: Killed, Equal, Undecided and the
	// survivors.
	Mutants int `json:"mutants"`
	Killed  int `json:"killed"`
	// Equal were shown to change no result.
	Equal    int      `json:"equal"`
	Survived []string `json:"survived"` // by name
	// Undecided were not run, or broke the suite.
	Undecided int    `json:"undecided"`
	Command   string `json:"command"` // repeats the run
}

// MutantsPrefix starts the file names of the tallies of one name; the number
// and MutantsExt follow.
func MutantsPrefix(name string) string { return "mutants." + name + "." }

var (
	mutantsNameForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	mutantsFileForm = regexp.MustCompile(`^mutants\.([a-z][a-z0-9_]*)\.([0-9]{4,})\.json$`)
)

// Verify checks that the counts agree.
func (m Mutants) Verify() error {
	switch {
	case m.Schema != MutantsSchema:
		return fmt.Errorf("schema: %w: wanted %q, found %.80q", manifest.ErrSchemaVersion, MutantsSchema, m.Schema)
	case !mutantsNameForm.MatchString(m.Name):
		return fmt.Errorf("name: %w: wanted lower_snake, found %.80q", manifest.ErrInvalid, m.Name)
	case m.Killed < 0 || m.Equal < 0 || m.Undecided < 0:
		return fmt.Errorf("%w: a negative count", manifest.ErrInvalid)
	case m.Mutants != m.Killed+m.Equal+m.Undecided+len(m.Survived):
		return fmt.Errorf("mutants: %w: wanted %d killed, %d equal, %d undecided and %d survivors together, found %d",
			manifest.ErrInvalid, m.Killed, m.Equal, m.Undecided, len(m.Survived), m.Mutants)
	case m.Command == "":
		return fmt.Errorf("command: %w: is empty", manifest.ErrInvalid)
	}
	return nil
}

// EncodeMutants is a tally's text.
func EncodeMutants(m Mutants) ([]byte, error) {
	m.Survived = append([]string{}, m.Survived...)
	if err := m.Verify(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	return append(text, '\n'), err
}

// DecodeMutants reads a tally's text.
func DecodeMutants(text []byte) (Mutants, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var m Mutants
	if err := dec.Decode(&m); err != nil {
		return Mutants{}, fmt.Errorf("%w: %w", manifest.ErrSyntax, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Mutants{}, manifest.ErrTrailingData
	}
	return m, m.Verify()
}

// ReadMutants reads the newest tally of each name in a directory, sorted by
// name. A directory that is absent has none.
func ReadMutants(fsys fs.FS) ([]Mutants, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	highest, files := map[string]int{}, map[string]string{}
	for _, entry := range entries {
		parts := mutantsFileForm.FindStringSubmatch(entry.Name())
		if parts == nil {
			continue
		}
		if n, err := strconv.Atoi(parts[2]); err == nil && n > highest[parts[1]] {
			highest[parts[1]], files[parts[1]] = n, entry.Name()
		}
	}
	var all []Mutants
	for name, file := range files {
		text, err := readText(fsys, file)
		if err != nil {
			return nil, err
		}
		m, err := DecodeMutants(text)
		if err == nil && m.Name != name {
			err = fmt.Errorf("name: %w: wanted the file name's %q, found %q", manifest.ErrInvalid, name, m.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Mutants) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
