package sshd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/sallyport-ssh/sallyport/filters/sftp"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/shells"
)

// A fileSession relays the SSH File Transfer Protocol. Each request that opens, changes or removes a file
// is decided on before the server sees it; one that is refused is answered here. Contents are hashed as
// they pass, and neither stored nor masked.
type fileSession struct {
	s       *session
	tracker *sftp.Tracker
	server  io.Writer

	mu     sync.Mutex // one packet at a time to the client, from both directions
	client io.Writer

	home chan struct{} // closed when it is known what paths are relative to, or never will be
}

// homeID is the id of the gate's own request, which asks what paths are relative to. It is answered before
// any request of the client's is sent, so that it can be no other's.
const homeID = 0x53414c59

// fileChunk is how much of a transfer is moved at once: a few packets of the usual 32 KiB.
const fileChunk = 128 << 10

// relayFiles is relay for sftp.
func (s *session) relayFiles(p shells.Process) (shells.Exit, error) {
	stop := context.AfterFunc(s.ctx, func() { p.Close() })
	defer stop()
	s.attach(p)
	defer s.attach(nil)
	f := &fileSession{s: s, tracker: sftp.NewTracker(sftp.Limits{}), server: p.Stdin(), client: s.ch, home: make(chan struct{})}
	// Not waited for here: it ends when the client's input does, or with the channel.
	s.c.wg.Go(func() {
		if err := f.fromClient(); err != nil {
			s.cancel(err)
		}
		p.Stdin().Close()
	})
	var outputs sync.WaitGroup
	outputs.Go(func() {
		if err := f.fromServer(p.Stdout()); err != nil {
			s.cancel(err)
		}
	})
	if stderr := p.Stderr(); stderr != nil {
		outputs.Go(func() { s.pump(s.out.stderr, stderr) })
	}
	outputs.Wait()
	exit, err := p.Wait(s.ctx)
	for _, file := range f.tracker.End() {
		if err := f.note(file, "left open"); err != nil {
			return exit, err
		}
	}
	if why := cause(s.ctx); why != nil {
		return exit, why
	}
	if err != nil {
		return exit, &targetError{target: s.route.target.Name, err: err}
	}
	return exit, nil
}

// fromClient decides on requests in their order until the client's input ends.
func (f *fileSession) fromClient() error {
	var split sftp.Splitter
	buf := make([]byte, fileChunk)
	var out []byte
	for {
		n, err := f.s.ch.Read(buf)
		out = out[:0]
		packet, rest, splitErr := split.Next(buf[:n])
		for ; packet != nil; packet, rest, splitErr = split.Next(rest) {
			forward, err := f.request(packet, func() error { return f.flush(&out) })
			if err != nil {
				return err
			}
			out = append(out, forward...)
		}
		if splitErr != nil {
			return &protocolError{splitErr}
		}
		if err := f.flush(&out); err != nil {
			return err
		}
		if err != nil {
			return nil // the end of input, or of the channel
		}
	}
}

// flush sends what was let through to the server.
func (f *fileSession) flush(out *[]byte) error {
	_, err := f.server.Write(*out)
	*out = (*out)[:0]
	if err != nil && f.s.ctx.Err() == nil {
		return nil // the server has ended; its exit says why
	}
	return err
}

// request returns what goes to the server for one packet: nothing, when it was answered here. Flush is
// called before anything that may take long, so that nothing already admitted waits for a human.
func (f *fileSession) request(p sftp.Packet, flush func() error) ([]byte, error) {
	r, err := sftp.Parse(p)
	if err == nil && r.Op != sftp.Init {
		err = f.settle(flush)
	}
	if why := cause(f.s.ctx); why != nil {
		return nil, why
	}
	if err == nil {
		err = f.tracker.Resolve(&r)
	}
	if errors.Is(err, sftp.ErrOrder) {
		return nil, &protocolError{err}
	}
	if err != nil {
		return nil, f.answer(r.ID, sftp.StatusFor(err), err.Error())
	}
	for _, need := range r.Needs() {
		if need.Class == sftp.Refused {
			return nil, f.answer(r.ID, sftp.OpUnsupported, "the gate does not know this request")
		}
		if need.Class != sftp.Looks {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		if err := f.admit(&r, need); err != nil {
			if why := cause(f.s.ctx); why != nil {
				return nil, why
			}
			return nil, f.answer(r.ID, sftp.PermissionDenied, publicText(err))
		}
	}
	if err := f.tracker.Sent(&r); err != nil {
		return nil, f.answer(r.ID, sftp.StatusFor(err), err.Error())
	}
	if r.Op == sftp.Init {
		return f.askHome(r.Relay(p))
	}
	return r.Relay(p), nil
}

// askHome adds the gate's own question to the client's INIT.
func (f *fileSession) askHome(init sftp.Packet) ([]byte, error) {
	question := sftp.AppendRealpath(nil, homeID, ".")
	r, err := sftp.Parse(question)
	if err == nil {
		err = f.tracker.Sent(&r)
	}
	return slices.Concat(init, question), err
}

// settle waits until it is known what paths are relative to: a relative path that is decided on by its text
// alone means something else to the server.
func (f *fileSession) settle(flush func() error) error {
	select {
	case <-f.home:
		return nil
	default:
	}
	if err := flush(); err != nil {
		return err
	}
	select {
	case <-f.home:
	case <-f.s.ctx.Done():
	}
	return nil
}

// actions are the policies' words for what a request needs.
var actions = map[sftp.Class]string{
	sftp.Looks: "file:read", sftp.Reads: "file:read", sftp.Writes: "file:write", sftp.Removes: "file:remove",
	sftp.Renames: "file:rename", sftp.Attributes: "file:attributes",
}

// admit decides on one thing that a request needs. Looking at names and attributes is decided on like
// reading, and only written down when it is not let through.
func (f *fileSession) admit(r *sftp.Request, need sftp.Need) error {
	path, known := f.tracker.Abs(need.Path)
	if !known {
		return publicError("the server does not say what relative paths are relative to; use absolute ones")
	}
	facts := r.Facts()
	facts["path"], facts["login"], facts["source"] = path, f.s.route.login, f.s.c.source.String()
	text := r.Op.String() + " " + path
	if other := f.otherPath(r); other != "" {
		facts["target_path"] = other
		text += " -> " + other
	}
	var w Witness = f.s
	if need.Class == sftp.Looks {
		w = quiet{f.s}
	}
	s := f.s
	return s.c.srv.o.Gate.Admit(s.ctx, Operation{
		SessionID: s.id, ConnectionID: s.c.id, Principal: s.c.principal, Target: s.route.target.Target,
		Action: actions[need.Class], Text: text, Facts: facts, Justification: s.asked.reason,
	}, w)
}

// otherPath is the second path of a rename or a link, absolute; "" for other requests. What a symbolic link
// says stays as it is: the server reads it only when the link is followed.
func (f *fileSession) otherPath(r *sftp.Request) string {
	other := r.NewPath
	switch r.Op {
	case sftp.Symlink:
		return r.Target
	case sftp.Hardlink:
		other = r.Target
	}
	if other == "" {
		return ""
	}
	other, _ = f.tracker.Abs(other) // known: admit asked
	return other
}

// quiet writes down only what is not simply allowed.
type quiet struct{ *session }

func (q quiet) Decided(op Operation, d policies.Decision) error {
	if d.Effect == policies.EffectAllow {
		return nil
	}
	return q.session.Decided(op, d)
}

// answer replies to the client in the server's place.
func (f *fileSession) answer(id uint32, code sftp.Status, message string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.client.Write(sftp.AppendStatus(nil, id, code, "sallyport: "+message)); err != nil {
		return errChannelClosed
	}
	return nil
}

// fromServer shows replies until the server's output ends.
func (f *fileSession) fromServer(from io.Reader) error {
	defer f.settled()
	var split sftp.Splitter
	buf := make([]byte, fileChunk)
	var out []byte
	for {
		n, readErr := from.Read(buf)
		out = out[:0]
		packet, rest, err := split.Next(buf[:n])
		for ; packet != nil && err == nil; packet, rest, err = split.Next(rest) {
			var show []byte
			if show, err = f.reply(packet); err != nil {
				break
			}
			out = append(out, show...)
		}
		if err != nil {
			return &protocolError{err}
		}
		f.mu.Lock()
		_, err = f.client.Write(out)
		f.mu.Unlock()
		if err != nil {
			return errChannelClosed
		}
		if readErr != nil {
			return nil
		}
	}
}

// reply follows one packet of the server's, and returns what the client gets for it.
func (f *fileSession) reply(p sftp.Packet) ([]byte, error) {
	r, err := sftp.ParseReply(p)
	if err != nil {
		return nil, err
	}
	file, err := f.tracker.Received(&r)
	if err != nil {
		return nil, err
	}
	if r.ID == homeID && f.settled() {
		return nil, nil // the gate's own question
	}
	if file != nil {
		if err := f.note(*file, "closed"); err != nil {
			return nil, err
		}
	}
	return r.Relay(p), nil
}

// settled says that it is known what paths are relative to, or never will be. It reports whether that was
// not said before. Called by fromServer's goroutine alone.
func (f *fileSession) settled() bool {
	select {
	case <-f.home:
		return false
	default:
		close(f.home)
		return true
	}
}

// note records what became of a file: how much was read and written, with which SHA-256, as a fact and
// as a line that a player shows.
func (f *fileSession) note(file sftp.File, how string) error {
	if file.Dir {
		return nil
	}
	path, _ := f.tracker.Abs(file.Path)
	path = f.s.maskText(path)
	note := map[string]any{"path": path, "how": how}
	for _, d := range []struct {
		verb string
		sum  sftp.Sum
	}{{"read", file.Read}, {"written", file.Written}} {
		if d.sum.Bytes == 0 && d.sum.SHA256 == nil {
			continue
		}
		sum := "not in order"
		if d.sum.SHA256 != nil {
			sum = hex.EncodeToString(d.sum.SHA256)
		}
		note[d.verb] = map[string]any{"bytes": d.sum.Bytes, "sha256": sum, "whole": d.sum.EOF}
		line := fmt.Sprintf("%s  %d bytes %s  sha256 %s\r\n", show(path), d.sum.Bytes, d.verb, sum)
		if err := f.s.recordOutput(cast.Gate, []byte(line)); err != nil {
			return err
		}
	}
	if f.s.recording == nil {
		return nil
	}
	return f.s.recorded(f.s.recording.Note("file", note))
}

// A protocolError ends a transfer whose stream nobody can follow any more.
type protocolError struct{ err error }

func (e *protocolError) Error() string { return e.err.Error() }
func (e *protocolError) Unwrap() error { return e.err }
func (e *protocolError) PublicText() string {
	return "the file transfer cannot be understood any more, so it ends"
}
