package objc

import (
	_ "embed" // the table
	"errors"
	"fmt"
	"strconv"
	"strings"
)

//go:embed selectors.tsv
var selectors string

// ErrTable is wrapped by errors about what the table does not have, or has
// otherwise.
var ErrTable = errors.New("not in the table of Core ML's messages")

// RowKind is what a row of the table is about.
type RowKind string

// The kinds of rows.
const (
	ClassMethod    RowKind = "+"
	InstanceMethod RowKind = "-"
	CFunction      RowKind = "C function"
	ClassOnly      RowKind = "class"
)

// MacOS is a release of the system.
type MacOS struct{ Major, Minor int }

// String is the release as Apple writes it.
func (m MacOS) String() string { return fmt.Sprintf("%d.%d", m.Major, m.Minor) }

// Before reports whether m is older than o.
func (m MacOS) Before(o MacOS) bool {
	return m.Major < o.Major || m.Major == o.Major && m.Minor < o.Minor
}

// Row is one message, C function or class.
type Row struct {
	Class    string // a protocol is written <P>; empty for C functions
	Kind     RowKind
	Selector string // or a C function's or class's name
	Result   Kind
	Args     []Kind // without self and the selector
	Block    []Kind // what the row's block is given; nil without one
	Since    MacOS
}

// Name is "Class selector", by which code names a row.
func (r *Row) Name() string { return r.Class + " " + r.Selector }

// Check compares the kinds of a message with the row. Errors wrap ErrTable.
func (r *Row) Check(result Kind, args []Value) error {
	if result != r.Result {
		return fmt.Errorf("%w: %s: result: want %s, found %s", ErrTable, r.Name(), r.Result, result)
	}
	if len(args) != len(r.Args) {
		return fmt.Errorf("%w: %s: want %d arguments, found %d", ErrTable, r.Name(), len(r.Args), len(args))
	}
	for i, arg := range args {
		if arg.Kind != r.Args[i] {
			return fmt.Errorf("%w: %s: argument %d: want %s, found %s", ErrTable, r.Name(), i+1, r.Args[i], arg.Kind)
		}
	}
	return nil
}

// Table is the embedded table.
type Table struct {
	Rows   []Row
	byName map[string]*Row
}

// Load parses the embedded table.
func Load() (*Table, error) { return Parse(selectors) }

// columns of the table.
var columns = strings.Split("group class kind selector encoding args ret macos note", " ")

// Parse reads a table: comments, a line of column names, rows.
func Parse(text string) (*Table, error) {
	t := &Table{byName: map[string]*Row{}}
	header := false
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != len(columns) {
			return nil, fmt.Errorf("line %d: want %d columns, found %d", i+1, len(columns), len(fields))
		}
		if !header {
			if line != strings.Join(columns, "\t") {
				return nil, fmt.Errorf("line %d: want the columns %q, found %q", i+1, columns, fields)
			}
			header = true
			continue
		}
		row, err := parseRow(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		t.Rows = append(t.Rows, row)
	}
	for i := range t.Rows {
		row := &t.Rows[i]
		if t.byName[row.Name()] != nil {
			return nil, fmt.Errorf("%s: stands twice", row.Name())
		}
		t.byName[row.Name()] = row
	}
	return t, nil
}

// Row returns the row called "Class selector", or nil.
func (t *Table) Row(name string) *Row { return t.byName[name] }

func parseRow(fields []string) (Row, error) {
	row := Row{Class: fields[1], Kind: RowKind(fields[2]), Selector: fields[3]}
	if row.Kind == "" { // no method: the kind stands in the column of classes
		row.Class, row.Kind = "", RowKind(fields[1])
	}
	major, minor, ok := strings.Cut(fields[7], ".")
	var err [2]error
	row.Since.Major, err[0] = strconv.Atoi(major)
	row.Since.Minor, err[1] = strconv.Atoi(minor)
	if !ok || errors.Join(err[:]...) != nil {
		return row, fmt.Errorf("macos: want major.minor, found %q", fields[7])
	}
	switch row.Kind {
	case CFunction, ClassOnly:
		row.Result = Kind(fields[4])
		if row.Kind == ClassOnly { // the name stands in the column of selectors
			row.Class, row.Selector = fields[3], ""
		}
		return row, nil
	case ClassMethod, InstanceMethod:
	default:
		return row, fmt.Errorf("kind: want +, -, C function or class, found %q", fields[2])
	}
	kinds, problem := parseEncoding(fields[4])
	if problem != nil {
		return row, problem
	}
	if len(kinds) < 3 || kinds[1] != Object || kinds[2] != SelectorArg {
		return row, fmt.Errorf("encoding: want a result, @ and :, found %q", fields[4])
	}
	row.Result, row.Args = kinds[0], kinds[3:]
	if want := strings.Count(row.Selector, ":"); len(row.Args) != want {
		return row, fmt.Errorf("encoding: want %d arguments for %s, found %q", want, row.Selector, fields[4])
	}
	for _, arg := range row.Args {
		if arg == Block {
			row.Block, problem = parseBlock(fields[5])
		}
	}
	return row, problem
}

// parseEncoding splits an encoding into kinds.
func parseEncoding(text string) ([]Kind, error) {
	var kinds []Kind
	for at := 0; at < len(text); {
		n := kindLength(text[at:])
		if n == 0 {
			return nil, fmt.Errorf("encoding: unknown kind at %q of %q", text[at:], text)
		}
		kinds = append(kinds, Kind(text[at:at+n]))
		if kinds[len(kinds)-1] == "Vv" { // oneway void
			kinds[len(kinds)-1] = Void
		}
		at += n
	}
	return kinds, nil
}

// kindLength is the length of the kind that text starts with, the longest
// first.
func kindLength(text string) int {
	for _, k := range []Kind{RangePair, Triple, ObjectList, ObjectOut, Pointer, Text, Block, "Vv", Void, Object, Class, SelectorArg, Bool, Int, Uint, Double} {
		if strings.HasPrefix(text, string(k)) {
			return len(k)
		}
	}
	return 0
}

// parseBlock reads what a block is given from the column of arguments:
// "block(NSURL, NSError)".
func parseBlock(args string) ([]Kind, error) {
	_, rest, ok := strings.Cut(args, "block(")
	list, _, closed := strings.Cut(rest, ")")
	if !ok || !closed {
		return nil, fmt.Errorf("args: want block(...), found %q", args)
	}
	var kinds []Kind
	for _, param := range splitParams(list) {
		switch param {
		case "void*":
			kinds = append(kinds, Pointer)
		case "NSInteger":
			kinds = append(kinds, Int)
		default: // a class or a protocol
			kinds = append(kinds, Object)
		}
	}
	return kinds, nil
}

// splitParams splits at commas outside angle brackets.
func splitParams(list string) []string {
	var params []string
	depth, start := 0, 0
	for i, c := range list + "," {
		switch {
		case c == '<':
			depth++
		case c == '>':
			depth--
		case c == ',' && depth == 0:
			params = append(params, strings.TrimSpace(list[start:i]))
			start = i + 1
		}
	}
	return params
}
