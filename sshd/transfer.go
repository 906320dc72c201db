package sshd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/shells"
)

// admitTransfer decides on the files that a client of scp, rsync or git moves by a command, as on those of sftp.
func (s *session) admitTransfer() error {
	t := s.transfer
	if t == nil {
		return nil
	}
	action := "file:read"
	if t.Upload {
		action = "file:write"
	}
	for _, path := range t.Paths {
		facts := map[string]any{"path": path, "login": s.route.login}
		if err := s.admit(action, t.Program+" "+path, facts); err != nil {
			return err
		}
		if !t.Deletes {
			continue
		}
		if err := s.admit("file:remove", t.Program+" "+path, facts); err != nil {
			return err
		}
	}
	return nil
}

// A tally counts and hashes one direction of a transfer.
type tally struct {
	to io.Writer

	mu    sync.Mutex
	bytes int64
	sum   hash.Hash
	err   error // of the one that is written to
}

func newTally(to io.Writer) *tally { return &tally{to: to, sum: sha256.New()} }

func (t *tally) Write(p []byte) (int, error) {
	n, err := t.to.Write(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes += int64(n)
	t.sum.Write(p[:n])
	t.err = err
	return n, err
}

func (t *tally) fact() map[string]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	return map[string]any{"bytes": t.bytes, "sha256": hex.EncodeToString(t.sum.Sum(nil))}
}

// relayTransfer is relay for scp, rsync and git. What they say to each other is no text: a star in it would be a
// broken file. So it is neither masked nor recorded; each direction is counted and hashed as a whole, as the files
// in it, which are packed and compressed, cannot be.
func (s *session) relayTransfer(p shells.Process) (shells.Exit, error) {
	stop := context.AfterFunc(s.ctx, func() { p.Close() })
	defer stop()
	s.attach(p)
	defer s.attach(nil)
	in, out := newTally(p.Stdin()), newTally(s.ch)
	// Not waited for here: it ends when the client's input does, or with the channel.
	s.c.wg.Go(func() {
		_, _ = io.CopyBuffer(in, onlyReader{s.ch}, make([]byte, fileChunk))
		p.Stdin().Close()
	})
	var outputs sync.WaitGroup
	outputs.Go(func() {
		_, _ = io.CopyBuffer(out, onlyReader{p.Stdout()}, make([]byte, fileChunk))
		if out.err != nil {
			s.cancel(errChannelClosed)
		}
	})
	if stderr := p.Stderr(); stderr != nil {
		outputs.Go(func() { s.pump(s.out.stderr, stderr) })
	}
	outputs.Wait()
	exit, err := p.Wait(s.ctx)
	if noted := s.noteTransfer(in, out); noted != nil {
		return exit, noted
	}
	if why := cause(s.ctx); why != nil {
		return exit, why
	}
	if err != nil {
		return exit, &targetError{target: s.route.target.Name, err: err}
	}
	return exit, nil
}

// noteTransfer records what was moved.
func (s *session) noteTransfer(in, out *tally) error {
	if s.recording == nil {
		return nil
	}
	var paths []string
	for _, path := range s.transfer.Paths {
		paths = append(paths, s.maskText(path))
	}
	from, to := in.fact(), out.fact()
	line := fmt.Sprintf("%s %s  %d bytes from the client, %d to it\r\n", s.transfer.Program, show(fmt.Sprint(paths)), from["bytes"], to["bytes"])
	if err := s.recordOutput(cast.Gate, []byte(line)); err != nil {
		return err
	}
	return s.recorded(s.recording.Note("transfer", map[string]any{
		"program": s.transfer.Program, "upload": s.transfer.Upload, "paths": paths, "from_client": from, "to_client": to,
	}))
}
