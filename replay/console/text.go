package console

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

// maxLines bounds the lines of one page.
const maxLines = 5000

// textView is a part of what was on a session's screen, as text.
type textView struct {
	S          ledger.Session
	Lines      []reel.Line
	Part, Of   int // from 1
	From       time.Duration
	Prev, Next int // parts; 0: there is none
	Cut        bool
	More       bool // the recording is still being read
	How        reel.How
}

var errManyLines = errors.New("too many lines")

// textPage shows what was on the screen in one segment of a recording, each line with its moment.
func (c *Console) textPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	part := 1
	if p := r.URL.Query().Get("part"); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 {
			return errBad
		}
		part = n
	}
	s, err := c.look(r, v, "recording.read")
	if err != nil {
		return err
	}
	view, err := c.o.Reels.View(r.Context(), s.ID, true, playWait)
	if err != nil {
		return err
	}
	if part > len(view.Segments) {
		return errNotFound
	}
	page := textView{S: s, Part: part, Of: len(view.Segments), More: view.How == reel.Making, How: view.How, From: view.Segments[part-1].Start, Prev: part - 1}
	if part < page.Of {
		page.Next = part + 1
	}
	reading, err := c.o.Reels.Segment(r.Context(), s.ID, view, part-1)
	if err != nil {
		return err
	}
	defer reading.Close()
	err = reading.Lines(func(l reel.Line) error {
		if len(page.Lines) == maxLines {
			page.Cut = true
			return errManyLines
		}
		page.Lines = append(page.Lines, l)
		return nil
	})
	if err != nil && !errors.Is(err, errManyLines) {
		return err
	}
	c.render(w, r, v, http.StatusOK, "text", "Text of "+sessionTitle(s), page)
	return nil
}
