package sshd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// idleLimit cuts pauses in a playback short.
const idleLimit = 2 * time.Second

// play shows a recording in the caller's terminal, at the pace it was recorded. Looking at a recording is
// an operation like any other, and is audited.
func (g *gateCall) play() error {
	if len(g.args) < 1 || len(g.args) > 2 {
		return errUsage
	}
	speed := 1.0
	if len(g.args) == 2 {
		var err error
		if speed, err = strconv.ParseFloat(g.args[1], 64); err != nil || !(speed > 0 && speed <= 1e6) {
			return publicf("speed %s is not a number above 0; 2 plays twice as fast", show(g.args[1]))
		}
	}
	row, err := g.c.srv.o.Ledger.Session(g.ctx, g.args[0])
	if err != nil {
		return sessionError(g.args[0], err)
	}
	target := policies.Target{Name: row.Target, Kind: row.TargetKind}
	if t := g.c.srv.o.Targets.Lookup(row.Target); t != nil {
		target = t.Target
	}
	if err := g.admit("recording:view", row.ID, target, ownerFacts(row)); err != nil {
		return err
	}
	recording, err := g.c.srv.o.Archive.Open(g.ctx, row.ID)
	if err != nil {
		return err
	}
	defer recording.Close()
	return g.playFrom(recording, speed)
}

// newlineMode begins the recording of a session without a terminal, so that players return the carriage
// at each newline (ECMA-48, LNM). Here it would outlive the playback.
const newlineMode = "\x1b[20h"

func (g *gateCall) playFrom(recording io.Reader, speed float64) error {
	r, err := cast.NewReader(recording)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	r.Lenient = true
	clean := cast.NewSanitizer()
	var out io.Writer = g.ch // a recording brings its own carriage returns
	var shown time.Duration
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("recording: %w", err)
		}
		if e.Code != 'o' {
			continue
		}
		if err := g.pause(min(e.At-shown, idleLimit), speed); err != nil {
			return err
		}
		shown = e.At
		if e.Stream == cast.Gate && string(e.Data) == newlineMode {
			out = g.out // it had no terminal: its newlines are ours to complete
			continue
		}
		if _, err := out.Write(clean.Append(nil, e.Data)); err != nil {
			return errChannelClosed
		}
	}
}

func (g *gateCall) pause(d time.Duration, speed float64) error {
	timer := time.NewTimer(time.Duration(float64(d) / speed))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-g.ctx.Done():
		return context.Cause(g.ctx)
	}
}
