// Benchtable prints how fast the masker is, beside Go's regexp and go-re2 with the same rules on the same bytes, in
// one run on one core, and which of its aims are met. It counts the processor time of its thread, so that other programs
// disturb it little.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"regexp/syntax"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	re2 "github.com/wasilibs/go-re2"
	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/filters/mask/internal/corpus"
)

// The aims, in MB/s, times and nanoseconds.
const (
	aimClean = 1000
	aimTimes = 20
	aimHits  = 200
	aimByte  = 1000
)

func main() {
	least := flag.Duration("time", 500*time.Millisecond, "processor time of one measurement")
	only := flag.String("only", "", "measure the texts whose names have this in them")
	flag.Parse()
	runtime.LockOSThread()
	if err := table(*least, *only); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

// cpu is the processor time of this thread.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure repeats f for at least d, three times, and returns the shortest time of one call.
func measure(d time.Duration, f func()) time.Duration {
	f()
	best := time.Duration(1<<63 - 1)
	for range 3 {
		start, n := cpu(), 0
		for cpu()-start < d/3 {
			f()
			n++
		}
		best = min(best, (cpu()-start)/time.Duration(n))
	}
	return best
}

// A row is a text, and what it asks of the masker.
type row struct {
	corpus.Text
	config mask.Config
	rules  []string // beyond the built-in ones
	aim    float64
	times  float64 // as fast as regexp
}

func rows() []row {
	var out []row
	for _, t := range append([]corpus.Text{corpus.Mix()}, corpus.Clean()...) {
		out = append(out, row{Text: t, aim: aimClean, times: aimTimes})
	}
	for _, t := range corpus.Hits() {
		r := row{Text: t, aim: aimHits}
		r.Name = "one a line: " + r.Name
		switch kind, _, _ := strings.Cut(t.Name, " "); kind {
		case "literal":
			r.config.Literals = []string{corpus.Literal}
			r.rules = []string{corpus.Literal}
		case "pattern":
			r.config.Patterns = []mask.Pattern{{Name: "badge", Regex: corpus.Pattern}}
			r.rules = []string{corpus.Pattern}
		case "field":
			r.config.Fields = []string{corpus.Field}
			r.rules = []string{`"` + corpus.Field + `":\s*"[^"]*"`}
		}
		out = append(out, r)
	}
	return out
}

func table(least time.Duration, only string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "text\tmask MB/s\tregexp MB/s\tgo-re2 MB/s\tx regexp\tx go-re2\tallocs/chunk\taims\t")
	for _, r := range rows() {
		if !strings.Contains(r.Name, only) {
			continue
		}
		if err := r.print(w, least); err != nil {
			return err
		}
	}
	w.Flush()
	return loneByte(least)
}

// print measures r with the masker, regexp and go-re2. regexp is slow, and so sees less of it.
func (r *row) print(w *tabwriter.Writer, least time.Duration) error {
	const few = 128 << 10
	e, err := mask.New(r.config)
	if err != nil {
		return err
	}
	rules := strings.Join(append([]string{corpus.Alternation()}, r.rules...), "|")
	if _, err := syntax.Parse(rules, syntax.Perl); err != nil {
		return err
	}
	std, fast := regexp.MustCompile(rules), re2.MustCompile(rules)
	sample := r.Text.Text[:few]
	ours, allocs := masking(e, r.Text.Text, least)
	a := rate(len(r.Text.Text), ours)
	b := rate(few, measure(least, func() { std.FindAllIndex(sample, -1) }))
	c := rate(few, measure(least, func() { fast.FindAllIndex(sample, -1) }))
	met := a >= r.aim && a/b >= r.times && (r.times == 0 || allocs < 0.01)
	fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.1f\t%.0f\t%.1f\t%.3f\t%s\t\n", r.Name, a, b, c, a/b, a/c, allocs, verdict(met))
	return nil
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

// loneByte measures chunks of one byte, as of typing.
func loneByte(least time.Duration) error {
	e, err := mask.New(mask.Config{})
	if err != nil {
		return err
	}
	s := e.Stream(mask.StreamOptions{})
	var dst []byte
	text := []byte("the quick brown fox jumps over 12 lazy dogs\r\n")
	one := measure(least, func() {
		for i := range text {
			dst = s.Append(dst[:0], text[i:i+1])
		}
	})
	ns := one.Nanoseconds() / int64(len(text))
	fmt.Printf("\na lone byte: %d ns, %s\n", ns, verdict(ns < aimByte))
	fmt.Printf("aims: clean text %d MB/s, %d times regexp, no allocation; one a line %d MB/s; a lone byte %d ns\n", aimClean, aimTimes, aimHits, aimByte)
	return nil
}

func rate(n int, d time.Duration) float64 { return float64(n) / 1e6 / d.Seconds() }

// masking measures the masker with chunks of 32 KB, and the allocations of one chunk.
func masking(e *mask.Engine, text []byte, least time.Duration) (time.Duration, float64) {
	const chunk = 32 << 10
	s := e.Stream(mask.StreamOptions{})
	dst := make([]byte, 0, 2*chunk)
	pass := func() {
		for i := 0; i < len(text); i += chunk {
			dst = s.Append(dst[:0], text[i:min(i+chunk, len(text))])
		}
	}
	d := measure(least, pass)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	pass()
	runtime.ReadMemStats(&after)
	return d, float64(after.Mallocs-before.Mallocs) / float64(len(text)/chunk)
}
