package console

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// maxShown bounds the operations that a session page lists beside the player.
const maxShown = 2000

// sessionView is one session's page.
type sessionView struct {
	S        ledger.Session
	Ops      []ledger.Operation
	MoreOps  bool // there are more than maxShown
	Live     bool
	Player   bool // the binary has the player in it
	MayEnd   bool
	Duration time.Duration
	Report   *cast.Report // of a verification just made
	Unread   string       // why it could not be made
}

// look is every request about one session: it finds the session, asks whether the viewer may see its
// recording, and writes into the audit log that they did.
func (c *Console) look(r *http.Request, v *visit, kind string) (ledger.Session, error) {
	s, err := c.o.Ledger.Session(r.Context(), r.PathValue("id"))
	if err != nil {
		// Whoever may see nothing learns nothing, not even which sessions there are.
		if refusal := c.admit(r, v, RecordingView, Object{Session: r.PathValue("id")}); refusal != nil && errors.Is(err, ledger.ErrNotFound) {
			return s, refusal
		}
		return s, err
	}
	if err := c.admit(r, v, RecordingView, about(s)); err != nil {
		return s, c.refused(r.Context(), v.viewer, s, err)
	}
	return s, c.audit(r.Context(), v.viewer, kind, s, nil)
}

// watch is look for what a page asks for many times while somebody plays one recording. It is written down when
// it begins, and again every while.
func (c *Console) watch(r *http.Request, v *visit) (ledger.Session, error) {
	id := r.PathValue("id")
	if !v.looks.watching(id, c.now()) {
		s, err := c.look(r, v, "recording.played")
		if err == nil {
			v.looks.watched(id, c.now())
		}
		return s, err
	}
	s, err := c.o.Ledger.Session(r.Context(), id)
	if err != nil {
		return s, err
	}
	return s, c.admit(r, v, RecordingView, about(s))
}

func (c *Console) sessionPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	s, err := c.look(r, v, "recording.viewed")
	if err != nil {
		return err
	}
	return c.showSession(w, r, v, s, sessionView{})
}

func (c *Console) showSession(w http.ResponseWriter, r *http.Request, v *visit, s ledger.Session, view sessionView) error {
	var err error
	view.S, view.Live, view.Player = s, s.State == ledger.Live, c.assets.hasPlayer()
	if view.Ops, view.MoreOps, err = c.operations(r, s.ID); err != nil {
		return err
	}
	if view.Live && c.o.Ender != nil {
		err := c.admit(r, v, SessionKill, about(s))
		if err := undecided(err); err != nil {
			return err
		}
		view.MayEnd = err == nil
	}
	end := s.Ended
	if end.IsZero() {
		end = c.now()
	}
	view.Duration = end.Sub(s.Started)
	c.render(w, r, v, http.StatusOK, "session", sessionTitle(s), view)
	return nil
}

// operations reads a session's operations in order, at most maxShown.
func (c *Console) operations(r *http.Request, id string) (all []ledger.Operation, more bool, err error) {
	var after int64
	for {
		page, next, err := c.o.Ledger.Operations(r.Context(), id, after, ledger.MaxLimit)
		if err != nil {
			return nil, false, err
		}
		all = append(all, page...)
		if next == 0 || len(all) >= maxShown {
			return all, next != 0, nil
		}
		after = next
	}
}

// newOperations is what a running session has gained, for its page to append. The page and the stream
// beside it are audited; this repeats every few seconds and is not.
func (c *Console) newOperations(w http.ResponseWriter, r *http.Request, v *visit) error {
	after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if err != nil || after < 0 {
		return errBad
	}
	s, err := c.o.Ledger.Session(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := c.admit(r, v, RecordingView, about(s)); err != nil {
		return err
	}
	ops, _, err := c.o.Ledger.Operations(r.Context(), s.ID, after, ledger.DefaultLimit)
	if err != nil {
		return err
	}
	c.fragment(w, r, v, "session", "op-items", ops)
	return nil
}

// sessionTitle is what a browser's tab shows.
func sessionTitle(s ledger.Session) string {
	return person(s.Identity) + " on " + brief(60, s.Target)
}

// verify checks the recording's signatures now. It reads all of it, so it is a form and not a link.
func (c *Console) verify(w http.ResponseWriter, r *http.Request, v *visit) error {
	s, err := c.look(r, v, "recording.verified")
	if err != nil {
		return err
	}
	if !c.streams.take(v.viewer.Principal.Key) {
		return errBusy
	}
	defer c.streams.give(v.viewer.Principal.Key)
	report, err := c.o.Recordings.Verify(r.Context(), s.ID)
	view := sessionView{Report: &report}
	switch {
	case errors.Is(err, replay.ErrNoSession):
		view = sessionView{Unread: "There is no recording of this session, neither in the spool nor in the store. If its retention has not ended, that is damage."}
	case err != nil && r.Context().Err() == nil:
		c.log().ErrorContext(r.Context(), "console: recording not verified", "session", s.ID, "err", err)
		view = sessionView{Unread: "The recording could not be read, so nothing was decided. The gate's log says why."}
	case err != nil:
		return err
	}
	return c.showSession(w, r, v, s, view)
}

// maxReason bounds what an approver or auditor writes, in characters.
const maxReason = 1000

// end asks the gate that runs a session to end it.
func (c *Console) end(w http.ResponseWriter, r *http.Request, v *visit) error {
	if c.o.Ender == nil {
		return errNotFound
	}
	s, err := c.o.Ledger.Session(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := c.admit(r, v, SessionKill, about(s)); err != nil {
		return c.refused(r.Context(), v.viewer, s, err)
	}
	reason, err := readReason(r)
	if err != nil {
		return err
	}
	if reason == "" {
		return &conflict{title: "A reason is needed", text: "Whoever is cut off is told why, and so is the record. Go back and say it in a few words."}
	}
	if err := c.audit(r.Context(), v.viewer, "session.end-asked", s, map[string]any{"reason": reason}); err != nil {
		return err
	}
	if err := c.o.Ender.End(r.Context(), v.viewer, s.ID, reason); err != nil {
		return err
	}
	http.Redirect(w, r, "/sessions/"+s.ID, http.StatusSeeOther)
	return nil
}
