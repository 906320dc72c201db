package reel

import (
	"errors"
	"io"
)

// textBatch is how many lines are handed over at once.
const textBatch = 256

// recently is how many lines back a line is not told again: a progress bar, a screen that is drawn anew.
const recently = 64

var errEnough = errors.New("enough")

// Text gives the lines of text that were on the screen in a recording to add, some at a time, in order, up to limit
// bytes of them. Whole says whether that was all. A line that was told a moment ago is not told again.
func Text(recording io.Reader, limit int, add func([]Line) error) (whole bool, err error) {
	var batch []Line
	var last [recently]string
	known := map[string]bool{}
	next, size := 0, 0
	err = Lines(recording, func(l Line) error {
		if known[l.Text] {
			return nil
		}
		if size += len(l.Text) + 1; size > limit {
			return errEnough
		}
		delete(known, last[next])
		last[next], known[l.Text] = l.Text, true
		next = (next + 1) % recently
		if batch = append(batch, l); len(batch) < textBatch {
			return nil
		}
		full := batch
		batch = nil
		return add(full)
	})
	whole = err == nil
	if err != nil && !errors.Is(err, errEnough) || len(batch) == 0 {
		if errors.Is(err, errEnough) {
			err = nil
		}
		return whole, err
	}
	return whole, add(batch)
}
