package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A fault is one that the evidence was put through, as its test counted.
type fault struct {
	Fault    string `json:"fault"`
	Times    int    `json:"times"`
	Sessions int    `json:"sessions"`
	Bytes    int64  `json:"bytes"` // acknowledged: a client may have seen them
	Lost     int64  `json:"lost"`  // of these, not in the record
	False    int    `json:"false"` // sealed as complete, and not
	Told     string `json:"told"`
}

// faultTests put the evidence through faults with real components; they write the table.
const faultTests = "^(TestKill|TestStoreFaults|TestFullDisk|TestReadOnlyDisk|TestIOErrors|TestGateThatNeverComesBack)$"

// faults has the tests of the evidence's faults run, more often than all tests together run them, and collects
// what they counted.
func (b *bench) faults(ctx context.Context) error {
	name := filepath.Join(b.dir, "faults.jsonl")
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=15m", "-run", faultTests, "github.com/sallyport-ssh/sallyport/replay")
	rounds := "50"
	if b.o.quick {
		rounds = "5"
	}
	cmd.Env = append(os.Environ(), "SALLYPORT_FAULT_TABLE="+name, "SALLYPORT_KILL_ROUNDS="+rounds)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w:\n%s", err, out)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		var f fault
		if err := json.Unmarshal(line, &f); err != nil {
			return err
		}
		b.report.addFault(f)
	}
	if len(b.report.Faults) == 0 {
		return errors.New("the tests counted nothing")
	}
	slices.SortFunc(b.report.Faults, func(a, c fault) int { return strings.Compare(a.Fault, c.Fault) })
	return nil
}

// addFault adds f, to another of the same name if there is one.
func (r *report) addFault(f fault) {
	for i := range r.Faults {
		if o := &r.Faults[i]; o.Fault == f.Fault {
			o.Sessions, o.Bytes, o.Lost, o.False = o.Sessions+f.Sessions, o.Bytes+f.Bytes, o.Lost+f.Lost, o.False+f.False
			if !strings.Contains(o.Told, f.Told) {
				o.Told += "; " + f.Told
			}
			return
		}
	}
	r.Faults = append(r.Faults, f)
}

const faultLine = "  %-34s %6v %9v %13v %6v %9v  %s\n"

// writeFaults lays out what the evidence survived.
func (r *report) writeFaults(b *strings.Builder) {
	if len(r.Faults) == 0 {
		return
	}
	b.WriteString("\nFaults that the evidence was put through, with a real store, real disks and real kills\n")
	b.WriteString("  (lost: bytes that were acknowledged, so that a client may have seen them, and are not in the record.\n")
	b.WriteString("   false: recordings sealed as complete that are not. told: what showed it at the time; how it is sealed, where not as complete.)\n")
	fmt.Fprintf(b, faultLine, "", "times", "sessions", "bytes shown", "lost", "false", "told")
	var sum fault
	for _, f := range r.Faults {
		fmt.Fprintf(b, faultLine, f.Fault, f.Times, f.Sessions, f.Bytes, f.Lost, f.False, f.Told)
		sum.Times, sum.Sessions, sum.Bytes, sum.Lost, sum.False = sum.Times+f.Times, sum.Sessions+f.Sessions, sum.Bytes+f.Bytes, sum.Lost+f.Lost, sum.False+f.False
	}
	text := fmt.Sprintf(faultLine, "all", sum.Times, sum.Sessions, sum.Bytes, sum.Lost, sum.False, "")
	b.WriteString(strings.TrimRight(text, " \n") + "\n")
}
