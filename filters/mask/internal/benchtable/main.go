// Benchtable prints how fast the masker is, beside Go's regexp and go-re2 with the same rules on the same bytes, in
// one run on one core. It counts the processor time of its thread, so that other programs disturb it little.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"text/tabwriter"
	"time"

	re2 "github.com/wasilibs/go-re2"
	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/filters/mask/internal/corpus"
)

func main() {
	least := flag.Duration("time", 500*time.Millisecond, "processor time of one measurement")
	flag.Parse()
	runtime.LockOSThread()
	if err := table(*least); err != nil {
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

func table(least time.Duration) error {
	e, err := mask.New(mask.Config{})
	if err != nil {
		return err
	}
	std, err := regexp.Compile(corpus.Alternation())
	if err != nil {
		return err
	}
	fast, err := re2.Compile(corpus.Alternation())
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "text\tmask MB/s\tregexp MB/s\tgo-re2 MB/s\tx regexp\tx go-re2\tallocs/chunk\t")
	texts := append([]corpus.Text{corpus.Mix()}, append(corpus.Clean(), corpus.Hits()...)...)
	for _, t := range texts {
		sample := t.Text[:128<<10] // regexp is slow
		ours, allocs := masking(e, t.Text, least)
		a := rate(len(t.Text), ours)
		b := rate(len(sample), measure(least, func() { std.FindAllIndex(sample, -1) }))
		c := rate(len(sample), measure(least, func() { fast.FindAllIndex(sample, -1) }))
		fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.1f\t%.0f\t%.1f\t%.3f\t\n", t.Name, a, b, c, a/b, a/c, allocs)
	}
	w.Flush()
	s := e.Stream(mask.StreamOptions{})
	var dst []byte
	text := []byte("the quick brown fox jumps over 12 lazy dogs\r\n")
	one := measure(least, func() {
		for i := range text {
			dst = s.Append(dst[:0], text[i:i+1])
		}
	})
	fmt.Printf("\na lone byte: %d ns\n", one.Nanoseconds()/int64(len(text)))
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
