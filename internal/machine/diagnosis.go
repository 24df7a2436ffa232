package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lockstep/manifest"
)

// Schema is the version of a diagnosis's JSON.
const Schema = "lockstep.doctor/1"

// leastMacOS is the first macOS with Core ML's states and named functions.
const leastMacOS = 15

// Program is what this build of lockstep brings along.
type Program struct {
	Planes  []string // that it can execute packages on
	Devices Devices
}

// Devices is what Core ML said of its compute devices, or why it was not asked.
type Devices struct {
	Asked        bool
	NeuralEngine bool   // one is among them
	Reason       string // it was not asked
}

// Finding is an answer with its reasons.
type Finding struct {
	Name   string   `json:"name"`
	Answer Answer   `json:"answer"`
	Why    []string `json:"why"` // each that stands against it, or what speaks for it
}

// Diagnosis is what can be measured on a machine, and why not the rest.
type Diagnosis struct {
	Schema string `json:"schema"` // Schema
	Facts  Facts  `json:"facts"`
	// There says what the machine has: Core ML, a Neural Engine.
	There []Finding `json:"there"`
	// Measures says what can be measured.
	Measures []Finding `json:"measures"`
}

// Diagnose draws the conclusions.
func Diagnose(f Facts, p Program) Diagnosis {
	coreML, engine := f.coreML(), f.neuralEngine(p.Devices)
	native := coreML
	if f.OS == "darwin" { // elsewhere no build has the plane
		native = needs(coreML, p.has(manifest.PlaneCoreML))
	}
	onEngine := needs(native, f.bare(), engine)
	return Diagnosis{
		Schema: Schema, Facts: f,
		There: []Finding{named("Core ML", coreML), named("Neural Engine", engine)},
		Measures: []Finding{
			named("package, lint, equivalence, oracle, parity, ranges on plane "+manifest.PlaneReference, needs(f.writes(), p.has(manifest.PlaneReference))),
			named("oracle and parity on plane "+manifest.PlaneCoreML, native),
			named("residency", onEngine),
			named("latency on the Neural Engine", onEngine),
			named("energy", needs(onEngine, f.power())),
		},
	}
}

func named(name string, f Finding) Finding {
	f.Name = name
	return f
}

func yes(why ...string) Finding { return Finding{Answer: Yes, Why: append([]string{}, why...)} }

func no(format string, args ...any) Finding {
	return Finding{Answer: No, Why: []string{fmt.Sprintf(format, args...)}}
}

func notKnown(format string, args ...any) Finding {
	return Finding{Answer: NotKnown, Why: []string{fmt.Sprintf(format, args...)}}
}

// needs is yes if all of its parts are; else it has the reasons of those that
// are not, each once, and is no if one of them is.
func needs(parts ...Finding) Finding {
	out := yes()
	for _, p := range parts {
		if p.Answer == Yes {
			continue
		}
		if p.Answer == No || out.Answer == Yes {
			out.Answer = p.Answer
		}
		for _, why := range p.Why {
			if !slices.Contains(out.Why, why) {
				out.Why = append(out.Why, why)
			}
		}
	}
	return out
}

// coreML needs the system, and a version of it that has states and functions.
func (f Facts) coreML() Finding {
	if f.OS != "darwin" {
		return no("no Core ML on %s", f.OS)
	}
	major, _, _ := strings.Cut(f.Version, ".")
	n, err := strconv.Atoi(major)
	switch {
	case err != nil:
		return notKnown("the version of macOS is not known; Core ML's states need %d", leastMacOS)
	case n < leastMacOS:
		return no("macOS %s: Core ML's states and named functions need %d", f.Version, leastMacOS)
	}
	return yes("macOS " + f.Version)
}

// neuralEngine is Core ML's own answer where it was asked; what the hardware
// rules out needs no asking.
func (f Facts) neuralEngine(d Devices) Finding {
	switch {
	case f.OS != "darwin":
		return no("no Core ML on %s", f.OS)
	case f.AppleSilicon != Yes:
		return no("an Intel Mac has no Neural Engine")
	case !d.Asked && f.VirtualMachine == Yes:
		return no("a virtual machine has no usable Neural Engine")
	case !d.Asked:
		return notKnown("%s", d.Reason)
	case !d.NeuralEngine:
		return no("Core ML lists no Neural Engine among its devices")
	}
	return yes("Core ML lists it among its devices")
}

// bare is a machine whose Neural Engine is the program's to use: hardware, not
// a virtual machine, and a native process.
func (f Facts) bare() Finding {
	if f.OS != "darwin" {
		return yes() // Core ML is missed already
	}
	parts := []Finding{}
	switch f.VirtualMachine {
	case Yes:
		parts = append(parts, no("a virtual machine has no usable Neural Engine"))
	case NotKnown:
		parts = append(parts, notKnown("the system does not tell whether it is a virtual machine"))
	}
	if f.Translated == Yes {
		parts = append(parts, no("Rosetta translates this program: run the one built for arm64"))
	}
	return needs(parts...)
}

// power is what powermetrics wants.
func (f Facts) power() Finding {
	if f.OS != "darwin" {
		return yes() // Core ML is missed already
	}
	parts := []Finding{}
	if !f.Powermetrics {
		parts = append(parts, no("there is no /%s", powermetrics))
	}
	if !f.Root {
		parts = append(parts, no("powermetrics needs root"))
	}
	return needs(parts...)
}

// writes is a system on which an export can be written: its renames can be told
// not to replace.
func (f Facts) writes() Finding {
	if f.OS != "linux" && f.OS != "darwin" {
		return no("exports are written on linux and darwin alone, this is %s", f.OS)
	}
	return yes()
}

// has is whether this build executes packages on a plane.
func (p Program) has(plane string) Finding {
	if !slices.Contains(p.Planes, plane) {
		return no("this build has no plane %s", plane)
	}
	return yes()
}

// Text is the diagnosis, one fact a line with its keyword first.
func (d Diagnosis) Text() string {
	var b strings.Builder
	line := func(keyword, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s %s\n", keyword, fmt.Sprintf(format, args...))
	}
	f := d.Facts
	line("machine", "%s/%s, %s", f.OS, f.Arch, f.system())
	line("chip", "%s", orNotKnown(f.Chip))
	line("virtual", "%s", f.VirtualMachine)
	if f.Translated == Yes {
		line("rosetta", "yes: this program is translated")
	}
	line("memory", "%s, swap %s of %s used", gibibytes(f.Memory), gibibytes(f.SwapUsed), gibibytes(f.SwapTotal))
	for _, v := range f.Volumes {
		line("disk", "%s: %s", v.For, reasoned(v.Free, "free on "+v.Path, v.Why))
	}
	for _, c := range f.Caches {
		line("cache", "%s: %s", c.Path, reasoned(c.Bytes, fmt.Sprintf("in %d files", c.Files), c.Why))
	}
	line("power", "powermetrics: %s; root: %s", yesNo(f.Powermetrics), yesNo(f.Root))
	line("go", "%s", f.Go)
	for _, t := range d.There {
		line("there", "%s: %s%s", t.Name, t.Answer, because(t.Why))
	}
	for _, m := range d.Measures {
		word := map[Answer]string{Yes: "can be measured", No: "cannot be measured", NotKnown: "not known whether it can be measured"}[m.Answer]
		line("measure", "%s: %s%s", m.Name, word, because(m.Why))
	}
	return b.String()
}

// system is the operating system's version for people.
func (f Facts) system() string {
	name := orNotKnown(f.Version)
	if f.OS == "darwin" {
		name = "macOS " + name
	}
	if f.Build != "" {
		name += " (" + f.Build + ")"
	}
	return name
}

func because(why []string) string {
	if len(why) == 0 {
		return ""
	}
	return ": " + strings.Join(why, "; ")
}

func reasoned(n *int64, what, why string) string {
	if n == nil {
		return "not known: " + why
	}
	return size(n) + " " + what
}

// size prints a size in decimal units, as disks are sold.
func size(n *int64) string {
	if n == nil {
		return string(NotKnown)
	}
	return fmt.Sprintf("%.2f GB", float64(*n)/1e9)
}

// gibibytes prints a size in binary units, as memory is sold.
func gibibytes(n *int64) string {
	if n == nil {
		return string(NotKnown)
	}
	return fmt.Sprintf("%.1f GiB", float64(*n)/(1<<30))
}

func orNotKnown(text string) string {
	if text == "" {
		return string(NotKnown)
	}
	return text
}

func yesNo(b bool) Answer {
	if b {
		return Yes
	}
	return No
}
