package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// A sample is what one trial found.
type sample struct {
	waits  []time.Duration // of each operation, where that is measured
	amount float64         // operations or megabytes
	took   time.Duration
	cpu    usage   // of the server, until it was idle again
	beside float64 // megabytes a second of whatever ran at the same time
}

// A trial measures one server for about slice.
type trial func(ctx context.Context, d *door, slice time.Duration) (sample, error)

// few is how often something slow is done at least.
const few = 5

// one does f again and again, one at a time. f returns how long it took, without what was prepared.
func one(f func(context.Context, *door) (time.Duration, error)) trial {
	return func(ctx context.Context, d *door, slice time.Duration) (s sample, err error) {
		begun := time.Now()
		for len(s.waits) < few || time.Since(begun) < slice {
			wait, err := f(ctx, d)
			if err != nil {
				return s, err
			}
			s.waits = append(s.waits, wait)
		}
		s.amount, s.took = float64(len(s.waits)), time.Since(begun)
		return s, nil
	}
}

// many does f with n clients at once.
func many(n int, f func(context.Context, *door) (time.Duration, error)) trial {
	return func(ctx context.Context, d *door, slice time.Duration) (sample, error) {
		if err := d.open(); err != nil { // before the others share it
			return sample{}, err
		}
		var done atomic.Int64
		begun := time.Now()
		err := together(n, func(int) error {
			for time.Since(begun) < slice {
				if _, err := f(ctx, d); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
		return sample{amount: float64(done.Load()), took: time.Since(begun)}, err
	}
}

// together runs f(0) to f(n-1) at once and returns their errors.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// connect is a fresh connection, to the end of authentication.
func connect(ctx context.Context, d *door) (time.Duration, error) {
	begun := time.Now()
	c, err := d.dial(ctx)
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	return took, c.Close()
}

// connectAndRun is `ssh host true`: to the exit status.
func connectAndRun(ctx context.Context, d *door) (time.Duration, error) {
	begun := time.Now()
	c, err := d.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	err = c.run("true")
	return time.Since(begun), err
}

// runOnOpen is `true` on a connection that is there already.
func runOnOpen(ctx context.Context, d *door, slice time.Duration) (sample, error) {
	c, err := d.dial(ctx)
	if err != nil {
		return sample{}, err
	}
	defer c.Close()
	return one(func(context.Context, *door) (time.Duration, error) {
		begun := time.Now()
		err := c.run("true")
		return time.Since(begun), err
	})(ctx, d, slice)
}

// What is typed, and how long between two keys.
const (
	typed = "the quick brown fox jumps over the lazy dog "
	pause = time.Millisecond
)

// echo types into a raw terminal and waits for each key.
func echo(ctx context.Context, d *door, slice time.Duration) (s sample, err error) {
	c, err := d.dial(ctx)
	if err != nil {
		return s, err
	}
	defer c.Close()
	t, err := c.terminal()
	if err != nil {
		return s, err
	}
	const warm = 20
	var begun time.Time
	for i := 0; i < warm+10*few || time.Since(begun) < slice; i++ {
		wait, err := t.key(typed[i%len(typed)])
		if err != nil {
			return s, err
		}
		if i < warm {
			begun = time.Now()
			continue
		}
		s.waits = append(s.waits, wait)
		time.Sleep(pause)
	}
	s.amount, s.took = float64(len(s.waits)), time.Since(begun)
	return s, nil
}

// flooded is echo while another connection, of a client in another process, is flooded with text.
func flooded(ctx context.Context, d *door, slice time.Duration) (sample, error) {
	f, err := startFlood(ctx, d)
	if err != nil {
		return sample{}, err
	}
	s, err := echo(ctx, d, slice)
	rate, stopped := f.stop()
	s.beside = rate
	return s, errors.Join(err, stopped)
}

// A flood is another process that reads all it gets.
type flood struct {
	cmd *exec.Cmd
	in  io.Closer
	out *json.Decoder
	err *tail
}

// floodWord is what a flood says, first when it has begun, then at its end.
type floodWord struct{ Rate float64 }

func startFlood(ctx context.Context, d *door) (*flood, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &flood{cmd: exec.CommandContext(ctx, self, "flood"), err: new(tail)}
	f.cmd.Stderr = f.err
	in, err := f.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.in, f.out = in, json.NewDecoder(out)
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	var begun floodWord
	if err := errors.Join(json.NewEncoder(in).Encode(d), f.out.Decode(&begun)); err != nil {
		_, stopped := f.stop()
		return nil, errors.Join(fmt.Errorf("flood: %w", err), stopped)
	}
	return f, nil
}

// stop ends the flood and returns megabytes a second.
func (f *flood) stop() (float64, error) {
	f.in.Close()
	var end floodWord
	err := f.out.Decode(&end)
	if waited := f.cmd.Wait(); waited != nil {
		err = errors.Join(err, fmt.Errorf("flood: %w: %s", waited, f.err))
	}
	return end.Rate, err
}

// floodRole is the other process. It stops when its standard input ends.
func floodRole(stdin io.Reader, stdout io.Writer) error {
	in := json.NewDecoder(stdin)
	var d door
	if err := in.Decode(&d); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.showText(&d)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(r, make([]byte, chunk)); err != nil {
		return err
	}
	begun := time.Now()
	say := json.NewEncoder(stdout)
	if err := say.Encode(floodWord{}); err != nil {
		return err
	}
	go func() { // ends with the standard input
		_, _ = io.Copy(io.Discard, stdin)
		cancel() // which closes the connection
	}()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, chunk))
	if ctx.Err() == nil {
		return fmt.Errorf("the flood ended by itself: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	return say.Encode(floodWord{Rate: float64(n) / 1e6 / time.Since(begun).Seconds()})
}

// showText starts a command that prints text without end.
func (c *client) showText(d *door) (io.Reader, error) {
	s, err := c.NewSession()
	if err != nil {
		return nil, err
	}
	r, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return r, s.Start("while cat " + d.Data + "/text; do :; done")
}

// output reads what a command prints.
func output(ctx context.Context, d *door, slice time.Duration) (s sample, err error) {
	c, err := d.dial(ctx)
	if err != nil {
		return s, err
	}
	defer c.Close()
	r, err := c.showText(d)
	if err != nil {
		return s, err
	}
	return take(r, slice)
}

// take reads for slice, after the first byte.
func take(r io.Reader, slice time.Duration) (s sample, err error) {
	p := make([]byte, chunk)
	if _, err := io.ReadFull(r, p[:1]); err != nil {
		return s, err
	}
	begun := time.Now()
	for s.took < slice {
		n, err := r.Read(p)
		s.amount, s.took = s.amount+float64(n)/1e6, time.Since(begun)
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// give writes for slice.
func give(w io.Writer, slice time.Duration) (bytes int64, err error) {
	p := []byte(strings.Repeat(typed, chunk/len(typed)+1))[:chunk]
	for begun := time.Now(); time.Since(begun) < slice; {
		n, err := w.Write(p)
		bytes += int64(n)
		if err != nil {
			return bytes, err
		}
	}
	return bytes, nil
}

// upload writes to a command, until it has read all and ended.
func upload(ctx context.Context, d *door, slice time.Duration) (s sample, err error) {
	c, err := d.dial(ctx)
	if err != nil {
		return s, err
	}
	defer c.Close()
	ss, err := c.NewSession()
	if err != nil {
		return s, err
	}
	in, err := ss.StdinPipe()
	if err != nil {
		return s, err
	}
	if err := ss.Start("cat >/dev/null"); err != nil {
		return s, err
	}
	begun := time.Now()
	n, err := give(in, slice)
	if err = errors.Join(err, in.Close()); err == nil {
		err = ss.Wait()
	}
	s.amount, s.took = float64(n)/1e6, time.Since(begun)
	return s, err
}

// forwardDown reads from the sink through a raw forward.
func forwardDown(ctx context.Context, d *door, slice time.Duration) (s sample, err error) {
	return forwarded(ctx, d, 'd', func(ch ssh.Channel) (sample, error) { return downOver(ch, slice) })
}

// forwardUp writes to the sink through a raw forward.
func forwardUp(ctx context.Context, d *door, slice time.Duration) (s sample, err error) {
	return forwarded(ctx, d, 'u', func(ch ssh.Channel) (sample, error) { return upOver(ch, slice) })
}

func forwarded(ctx context.Context, d *door, what byte, f func(ssh.Channel) (sample, error)) (s sample, err error) {
	c, err := d.dial(ctx)
	if err != nil {
		return s, err
	}
	defer c.Close()
	ch, err := c.forward(d)
	if err != nil {
		return s, err
	}
	if _, err := ch.Write([]byte{what}); err != nil {
		return s, err
	}
	return f(ch)
}
