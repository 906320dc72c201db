package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A bench measures and collects.
type bench struct {
	*stage
	o      options
	rounds int
	slice  time.Duration // of one trial
	report report
	took   map[*door][]sample // of the comparison at hand
}

// A group is measured together.
type group struct {
	name, what string
	measure    func(*bench, context.Context) error
}

// groups are in the order of the tables.
var groups = []group{
	{"handshake", "handshakes", (*bench).handshakes},
	{"exec", "running `true`", (*bench).execs},
	{"echo", "keystrokes", (*bench).keystrokes},
	{"flood", "keystrokes beside a flood", (*bench).keystrokesFlooded},
	{"output", "output of a command", (*bench).outputs},
	{"upload", "input of a command", (*bench).uploads},
	{"forward", "raw forwards", (*bench).forwards},
	{"postgres-statements", "short statements of a database", withDatabase((*bench).statements)},
	{"postgres-rows", "rows of a database", withDatabase((*bench).rows)},
	{"postgres-idle", "memory of idle connections to a database", withDatabase((*bench).idleDatabases)},
	{"idle", "memory of idle terminals", (*bench).idle},
	{"many", "many terminals at once", (*bench).crowd},
	{"kubernetes", "a Kubernetes API server", (*bench).kubernetes},
	{"decide", "deciding on commands", (*bench).decisions},
	{"faults", "what the evidence survives", (*bench).faults},
}

func groupNames() string {
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	return strings.Join(names, ", ")
}

func newBench(st *stage, o options) *bench {
	b := &bench{stage: st, o: o, rounds: 3, slice: 1200 * time.Millisecond}
	if o.quick {
		b.rounds, b.slice = 1, 500*time.Millisecond
	}
	b.report = report{
		Date: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPUs: runtime.NumCPU(), Rounds: b.rounds,
		KeyExchange: st.kex[0],
	}
	return b
}

// measure goes through the groups. One that fails does not keep the others from being measured.
func (b *bench) measure(ctx context.Context) error {
	var errs []error
	for _, g := range groups {
		if !b.o.only.MatchString(g.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(b.log, "bench: %s\n", g.what)
		if err := b.profiled(ctx, b.o.profile, g.name, func() error { return g.measure(b, ctx) }); err != nil {
			errs = append(errs, fmt.Errorf("%s could not be measured: %w", g.what, err))
		}
	}
	return errors.Join(errs...)
}

// trialLimit ends a trial that hangs.
const trialLimit = time.Minute

// entry is one way of doing the same.
type entry struct {
	s *server
	d *door
}

func (b *bench) three() []entry {
	return []entry{{b.gate, b.gate.box}, {b.plain, b.plain.box}, {b.openssh, b.openssh.box}}
}

// all is three, and the gate's other targets.
func (b *bench) all() []entry {
	e := append(b.three(), entry{b.gate, b.gate.bare})
	if b.gate.web1 != nil {
		e = append(e, entry{b.gate, b.gate.web1})
	}
	return e
}

// compare runs t for each of es in each round, beginning with another one each time.
func (b *bench) compare(ctx context.Context, es []entry, t trial) error {
	b.took = map[*door][]sample{}
	for round := range b.rounds {
		for i := range es {
			e := es[(i+round)%len(es)]
			s, err := b.try(ctx, e, t)
			if err != nil {
				return fmt.Errorf("%s (%s): %w", e.s.Name, e.d.User, err)
			}
			b.took[e.d] = append(b.took[e.d], s)
		}
	}
	return nil
}

func (b *bench) try(ctx context.Context, e entry, t trial) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	before, err := e.s.proc.settle(ctx)
	if err != nil {
		return sample{}, err
	}
	s, err := t(ctx, e.d, b.slice)
	if ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("it did not end within %v", trialLimit)
	}
	if err != nil {
		return s, err
	}
	if s.amount == 0 {
		return s, errNothing
	}
	after, err := e.s.proc.settle(ctx)
	s.cpu = usage{all: after.all - before.all, own: after.own - before.own}
	return s, err
}

// of is a number for each server, from its samples; 0 where it has none.
func (b *bench) of(gate *door, f func([]sample) float64) [3]float64 {
	var v [3]float64
	for i, d := range []*door{gate, b.plain.box, b.openssh.box} {
		if s := b.took[d]; len(s) > 0 {
			v[i] = f(s)
		}
	}
	return v
}

// quantile returns the q-quantile of all waits, in milliseconds.
func quantile(q float64) func([]sample) float64 {
	return func(samples []sample) float64 {
		var all []time.Duration
		for _, s := range samples {
			all = append(all, s.waits...)
		}
		return float64(rank(all, q)) / 1e6
	}
}

// rank returns the smallest value that the part q of all values does not exceed. It sorts them.
func rank[T int | float64 | time.Duration](all []T, q float64) T {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	i := int(q * float64(len(all)))
	return all[min(i, len(all)-1)]
}

// median returns that of f over the rounds.
func median(f func(sample) float64) func([]sample) float64 {
	return func(samples []sample) float64 {
		var all []float64
		for _, s := range samples {
			all = append(all, f(s))
		}
		return rank(all, 0.5)
	}
}

var (
	perSecond = median(func(s sample) float64 { return s.amount / s.took.Seconds() })
	beside    = median(func(s sample) float64 { return s.beside })
	cpuEach   = cpuOf(func(u usage) time.Duration { return u.all })
	ownEach   = cpuOf(func(u usage) time.Duration { return u.own })
)

// cpuOf is in milliseconds for each operation, or megabyte. Operations may be few and ticks coarse, so it
// is taken over all rounds.
func cpuOf(f func(usage) time.Duration) func([]sample) float64 {
	return func(samples []sample) float64 {
		var cpu time.Duration
		var amount float64
		for _, s := range samples {
			cpu, amount = cpu+f(s.cpu), amount+s.amount
		}
		return float64(cpu) / 1e6 / amount
	}
}

// ownOf is cpuEach of the server's process alone. OpenSSH has one for each connection, and is left out.
func (b *bench) ownOf(gate *door) [3]float64 {
	v := b.of(gate, ownEach)
	v[2] = 0
	return v
}

const clients = 8

func (b *bench) handshakes(ctx context.Context) error {
	t := b.report.table("Handshakes: connect and authenticate, then close",
		"The gate's client has certificates on both sides: two signatures more to verify on the server, one on the client.")
	if err := b.compare(ctx, b.three(), one(connect)); err != nil {
		return err
	}
	t.add(row{What: "fresh connection, p50", Unit: "ms", Value: b.of(b.gate.box, quantile(0.5)), Aim: within2})
	if err := b.compare(ctx, b.three(), many(clients, connect)); err != nil {
		return err
	}
	t.add(row{What: "8 clients", Unit: "/s", More: true, Value: b.of(b.gate.box, perSecond), Aim: within2})
	t.add(row{What: "CPU of the server", Unit: "ms each", Value: b.of(b.gate.box, cpuEach)})
	return nil
}

// execs runs `true`. The rows of the gate's other targets show where the time goes.
func (b *bench) execs(ctx context.Context) error {
	t := b.report.table("Running `true`",
		"The others start a shell. The gate decides twice, writes both decisions to the ledger, records, signs, seals and ships, and",
		"starts the shell in a bubblewrap sandbox of its own (box), without one (bare), or on an OpenSSH server in a cage (web1).")
	targets := []struct {
		name string
		d    *door
		aim  aim
	}{{"box", b.gate.box, within2}, {"bare", b.gate.bare, aim{}}, {"web1", b.gate.web1, aim{}}}
	rows := func(what string, r row, f func(*door) [3]float64) {
		for _, to := range targets {
			if to.d == nil {
				continue
			}
			r.What, r.Value, r.Aim = what+": "+to.name, f(to.d), to.aim
			t.add(r)
		}
	}
	of := func(f func([]sample) float64) func(*door) [3]float64 {
		return func(d *door) [3]float64 { return b.of(d, f) }
	}
	if err := b.compare(ctx, b.all(), one(connectAndRun)); err != nil {
		return err
	}
	rows("fresh connection, p50", row{Unit: "ms"}, of(quantile(0.5)))
	if err := b.compare(ctx, b.all(), runOnOpen); err != nil {
		return err
	}
	rows("open connection, p50", row{Unit: "ms"}, of(quantile(0.5)))
	if err := b.compare(ctx, b.all(), many(clients, connectAndRun)); err != nil {
		return err
	}
	rows("8 clients, fresh", row{Unit: "/s", More: true}, of(perSecond))
	targets[0].aim = aim{}
	rows("CPU with all it started", row{Unit: "ms each"}, of(cpuEach))
	rows("CPU of the server itself", row{Unit: "ms each"}, b.ownOf)
	return nil
}

func (b *bench) keystrokes(ctx context.Context) error {
	t := b.report.table("Echo of a keystroke in a terminal running `cat`", "On the gate masked and recorded before it is shown.")
	if err := b.compare(ctx, b.three(), echo); err != nil {
		return err
	}
	t.add(row{What: "alone, p50", Unit: "ms", Value: b.of(b.gate.box, quantile(0.5))})
	t.add(row{What: "alone, p99", Unit: "ms", Value: b.of(b.gate.box, quantile(0.99)), Aim: aim{
		"< 1 ms over plain Go", func(r row) bool { return r.Value[0]-r.Value[1] < 1 }}})
	t.add(row{What: "CPU with the terminal's", Unit: "ms each", Value: b.of(b.gate.box, cpuEach)})
	return nil
}

func (b *bench) keystrokesFlooded(ctx context.Context) error {
	t := b.report.table("The same while another connection is flooded with text", "A server that floods more slowly has less to do beside.")
	if err := b.compare(ctx, b.three(), flooded); err != nil {
		return err
	}
	t.add(row{What: "flooded, p50", Unit: "ms", Value: b.of(b.gate.box, quantile(0.5))})
	t.add(row{What: "flooded, p99", Unit: "ms", Value: b.of(b.gate.box, quantile(0.99)), Aim: aim{
		"< 5 ms", func(r row) bool { return r.Value[0] < 5 }}})
	t.add(row{What: "the flood meanwhile", Unit: "MB/s", More: true, Value: b.of(b.gate.box, beside)})
	return nil
}

func (b *bench) outputs(ctx context.Context) error {
	t := b.report.table("Output of a command: text, one line in twenty with something to mask", "On the gate masked, recorded, compressed and shipped.")
	return b.throughput(ctx, t, "`cat` of text", output, aim{})
}

func (b *bench) uploads(ctx context.Context) error {
	t := b.report.table("Input of a command: `cat >/dev/null`")
	return b.throughput(ctx, t, "to stdin", upload, aim{})
}

func (b *bench) forwards(ctx context.Context) error {
	t := b.report.table("Raw forward (ssh -W), one channel", "On the gate decided, and recorded with its sizes. First with the Go client, then with OpenSSH's own.")
	equal := aim{"at least OpenSSH", func(r row) bool { return r.Value[0] >= r.Value[2] }}
	return errors.Join(
		b.throughput(ctx, t, "to the client", forwardDown, equal),
		b.throughput(ctx, t, "from the client", forwardUp, equal),
		b.throughput(ctx, t, "to OpenSSH's client", throughSSH('d', downOver), equal),
		b.throughput(ctx, t, "from OpenSSH's client", throughSSH('u', upOver), equal),
	)
}

func (b *bench) throughput(ctx context.Context, t *table, what string, f trial, a aim) error {
	if err := b.compare(ctx, b.three(), f); err != nil {
		return err
	}
	t.add(row{What: what, Unit: "MB/s", More: true, Value: b.of(b.gate.box, perSecond), Aim: a})
	t.add(row{What: "CPU, server and command", Unit: "ms/MB", Value: b.of(b.gate.box, cpuEach)})
	t.add(row{What: "CPU of the server itself", Unit: "ms/MB", Value: b.ownOf(b.gate.box)})
	return nil
}
