package replay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
)

// BenchmarkOutput is the cost of recording one write, beside that of a bare write(2) of as many bytes.
func BenchmarkOutput(b *testing.B) {
	text := make([]byte, 32<<10)
	binary := make([]byte, 32<<10)
	for i := range text {
		text[i] = "the quick brown fox \x1b[1mjumps\x1b[0m over\r\n"[i%40]
		binary[i] = byte(i * 2654435761 >> 7)
	}
	for _, bb := range []struct {
		name string
		p    []byte
	}{{"1B", text[:1]}, {"80B", text[:80]}, {"32KiB", text}, {"32KiB-binary", binary}} {
		b.Run("record/"+bb.name, func(b *testing.B) {
			h := newHouse(b, func(o *replay.Options) { o.Checkpoint, o.ShipAfter, o.SpoolLimit = 0, time.Hour, 1<<40 })
			r := h.start(b, id1)
			b.SetBytes(int64(len(bb.p)))
			b.ReportAllocs()
			for b.Loop() {
				must(b, r.Output(replay.Stdout, bb.p))
			}
			b.StopTimer()
		})
		b.Run("write/"+bb.name, func(b *testing.B) {
			f, err := os.OpenFile(filepath.Join(b.TempDir(), "f"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			must(b, err)
			defer f.Close()
			b.SetBytes(int64(len(bb.p)))
			for b.Loop() {
				_, err := f.Write(bb.p)
				must(b, err)
			}
		})
	}
}

// BenchmarkSession is a whole short session: key, certificate, recording, seal.
func BenchmarkSession(b *testing.B) {
	h := newHouse(b, func(o *replay.Options) { o.Checkpoint, o.ShipAfter, o.SpoolLimit = 0, 0, 1<<40 })
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		r := h.start(b, fmt.Sprintf("s%08d", n))
		must(b, r.Output(replay.Stdout, []byte("hello\n")))
		_, err := r.End(b.Context(), replay.End{Reason: "exit"})
		must(b, err)
	}
}

// BenchmarkIdle tells what a recording costs in memory while nothing happens, with 5,000 of them.
func BenchmarkIdle(b *testing.B) {
	const sessions = 5000
	for b.Loop() {
		h := newHouse(b, nil)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range sessions {
			must(b, h.start(b, fmt.Sprintf("s%08d", i)).Output(replay.Stdout, []byte("$ ")))
		}
		eventually(b, "all are shipped", func() bool { return h.Stats().Behind == 0 && h.Stats().Segments >= sessions })
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/sessions, "B/recording")
	}
}

// BenchmarkBusy5000 is 5,000 sessions that each write a line a second: how late checkpoints get.
func BenchmarkBusy5000(b *testing.B) {
	const sessions = 5000
	h := newHouse(b, func(o *replay.Options) { o.Checkpoint, o.ShipAfter, o.SpoolLimit = 0, 0, 1<<40 })
	all := make([]*replay.Recording, sessions)
	for i := range all {
		all[i] = h.start(b, fmt.Sprintf("s%08d", i))
	}
	var behind time.Duration
	for b.Loop() {
		next := time.NewTicker(time.Second / 100)
		for i := range 100 {
			for _, r := range all[i*50 : i*50+50] {
				must(b, r.Output(replay.Stdout, []byte("a line of output\r\n")))
			}
			<-next.C
		}
		next.Stop()
		behind = max(behind, h.Stats().Behind)
	}
	b.ReportMetric(behind.Seconds(), "s-behind")
}
