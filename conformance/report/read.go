package report

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"lockstep/manifest"
)

// maxText bounds the size of a record, verdict or tally that is read.
const maxText = 64 << 20

// Fresh reports why a verdict no longer counts for the suite of today, or nil.
type Fresh func(manifest.Verdict, manifest.Record) error

// Read gathers what an output directory holds: for each shard and plane the
// newest verdict of the recorded package, or else the newest of all, which is
// stale. A directory without a record has no fresh verdicts. dir is what the
// report calls it.
//
// A verdict that cannot be read is a row of its own and not an error: a report
// is wanted most when something is broken. A record that cannot be read is an
// error, since nothing can be held against it.
func Read(fsys fs.FS, dir string, fresh Fresh) (Export, error) {
	e := Export{Dir: dir, Rows: []Row{}, NotExported: []manifest.Piece{}, Unread: []string{}}
	record, err := readRecord(fsys)
	if err != nil {
		return Export{}, fmt.Errorf("%s: %w", dir, err)
	}
	files, unread, err := verdictFiles(fsys)
	if err != nil {
		return Export{}, fmt.Errorf("%s: %w", dir, err)
	}
	e.Unread = append(e.Unread, unread...)
	for _, names := range files {
		e.Rows = append(e.Rows, newest(fsys, names, record, fresh))
	}
	if record != nil {
		e.Model = record.Model.Name
		e.addUnjudged(record)
	}
	slices.SortFunc(e.Rows, compareRows)
	return e, nil
}

// addUnjudged adds what the record has and no verdict speaks of, and what the
// layout has and the record does not.
func (e *Export) addUnjudged(r *manifest.Record) {
	exported := r.Pieces()
	for piece := range exported {
		if !slices.ContainsFunc(e.Rows, func(row Row) bool { return row.Piece == piece }) {
			e.Rows = append(e.Rows, Row{Piece: piece, Standing: NoVerdict})
		}
	}
	start := 0
	for _, n := range r.Layout {
		piece := manifest.Piece{Kind: manifest.PieceLayers, Start: start, End: start + n}
		if _, ok := exported[piece]; !ok {
			e.NotExported = append(e.NotExported, piece)
		}
		start += n
	}
}

// readRecord reads the directory's record; without one it is nil.
func readRecord(fsys fs.FS) (*manifest.Record, error) {
	text, err := readText(fsys, manifest.RecordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := manifest.DecodeRecord(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", manifest.RecordFile, err)
	}
	return r, nil
}

// verdictFiles are the names of verdicts, for each shard and plane the newest
// first, and other JSON files among them.
func verdictFiles(fsys fs.FS) (groups [][]manifest.VerdictName, unread []string, err error) {
	entries, err := fs.ReadDir(fsys, manifest.VerdictDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	type about struct {
		piece manifest.Piece
		plane string
	}
	at := map[about]int{}
	for _, entry := range entries {
		n, ok := manifest.ParseVerdictName(entry.Name())
		if !ok {
			if strings.HasSuffix(entry.Name(), manifest.VerdictExt) {
				unread = append(unread, entry.Name())
			}
			continue
		}
		key := about{n.Piece, n.Plane}
		if _, ok := at[key]; !ok {
			at[key] = len(groups)
			groups = append(groups, nil)
		}
		groups[at[key]] = append(groups[at[key]], n)
	}
	for _, names := range groups {
		slices.SortFunc(names, func(a, b manifest.VerdictName) int { return b.Number - a.Number })
	}
	return groups, unread, nil
}

// newest is the row of one shard and plane. Going back from the newest, the
// first verdict of the recorded package counts; if there is none the newest is
// shown, as stale. One that cannot be read ends the search: it may have been
// the one that counts.
func newest(fsys fs.FS, names []manifest.VerdictName, record *manifest.Record, fresh Fresh) Row {
	var first Row
	for i, n := range names {
		row := Row{Piece: n.Piece, Plane: n.Plane, File: path.Join(manifest.VerdictDir, n.String())}
		v, err := readVerdict(fsys, row.File, n)
		if err != nil {
			row.Standing, row.Reason = Error, "the verdict cannot be read: "+err.Error()
			return row
		}
		row.Verdict = v
		err = ofRecord(v, record)
		if err == nil {
			row.Standing = Standing(v.Result)
			if err = fresh(*v, *record); err == nil {
				return row
			}
		}
		row.Standing, row.Reason = Stale, err.Error()
		if i == 0 {
			first = row
		}
		if record != nil && v.Package.Digest == record.Pieces()[n.Piece].Digest {
			return row // older ones ran an older list of cases
		}
	}
	return first
}

func readVerdict(fsys fs.FS, file string, n manifest.VerdictName) (*manifest.Verdict, error) {
	text, err := readText(fsys, file)
	if err != nil {
		return nil, err
	}
	v, err := manifest.DecodeVerdict(text)
	if err != nil {
		return nil, err
	}
	if v.Piece() != n.Piece || v.Plane != n.Plane {
		return nil, fmt.Errorf("%w: its name says %s on plane %s, its text %s on %s",
			manifest.ErrInvalid, n.Piece, n.Plane, v.Piece(), v.Plane)
	}
	return v, nil
}

// ofRecord reports why a verdict is about nothing that the record has.
func ofRecord(v *manifest.Verdict, r *manifest.Record) error {
	if r == nil {
		return fmt.Errorf("there is no %s to hold its package against", manifest.RecordFile)
	}
	switch digest := r.Pieces()[v.Piece()].Digest; digest {
	case v.Package.Digest:
		return nil
	case "":
		return fmt.Errorf("the record has no %s", v.Piece())
	default:
		return fmt.Errorf("its package has digest %.12s…, the record's has %.12s…", v.Package.Digest, digest)
	}
}

// readText reads a file of at most maxText bytes.
func readText(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("%s: %w: wanted at most %d bytes, found more", name, manifest.ErrInvalid, maxText)
	}
	return text, nil
}
