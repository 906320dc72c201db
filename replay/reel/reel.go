// Package reel makes long recordings playable from anywhere.
//
// A reel is an index of a recording: where in it a player can begin, and what the screen looked like there. With
// it a player opens and seeks in the same time at an hour and at a week, and holds a few segments in memory. A
// reel is made by reading a recording once; it can be thrown away and made again, and proves nothing.
//
// Nothing of a recording gets through that could act on who looks at it: see [Playback].
package reel

import (
	"slices"
	"time"
)

// How much of a recording is one segment.
var (
	segmentBytes  = 256 << 10 // of output
	segmentEvents = 8192
	segmentLength = 1 << 20 // of the recording, in bytes
)

// Where a recording gives no place to cut (no time passes, a sequence does not end), it is cut anyway at this
// many times as much.
const segmentMost = 4

// Bounds on what a reel keeps.
const (
	maxMarkers = 5000
	maxLabel   = 400 // bytes of a marker
	maxGaps    = 20_000
	// MinGap is the shortest pause that is worth keeping.
	MinGap = 400 * time.Millisecond
)

// A Segment is a piece of a recording that can be played without the pieces before it.
type Segment struct {
	From  int64         // its first byte in the recording, the beginning of a line
	Base  time.Duration // time of the line before, as the recording has it
	Start time.Duration // time of its first event; each segment's is later than the last's
	Cols  uint32        // size of the screen at its start
	Rows  uint32
	// Masked counts the values that were masked before it, as far as checkpoints tell.
	Masked int64

	screen string // what draws the screen at its start; kept until it is in a file
}

// A Gap is a pause in which nothing was shown.
type Gap struct{ At, For time.Duration }

// A Marker is a label that stands in the recording, something that was typed, or a moment at which values were masked.
type Marker struct {
	At     time.Duration
	Label  string
	Masked int64 // values; the moment is exact to the second or so between checkpoints
	Typed  bool  // Label is what was typed, its keys by name
}

// How says how far a reel goes.
type How string

// The ends of a reel.
const (
	Making  How = ""        // there is more to read
	Whole   How = "whole"   // up to the recording's seal
	Open    How = "open"    // up to its last whole line, and there is no seal: it is live, or was cut
	Damaged How = "damaged" // up to where it cannot be read
)

// A View is what a reel knows at one moment. Its slices are shared and must not be changed.
type View struct {
	Segments []Segment // in order; at least one
	Gaps     []Gap     // the longest ones, in order
	Markers  []Marker  // the first ones, in order
	Length   time.Duration
	Read     int64  // bytes of the recording that it covers
	How      How    // how far it goes
	Why      string // of Damaged
	Edition  int    // changes when gaps known before were dropped for longer ones
}

// At is the segment that plays at t.
func (v *View) At(t time.Duration) int {
	i, exact := slices.BinarySearchFunc(v.Segments, t, func(s Segment, t time.Duration) int { return int(s.Start - t) })
	if exact {
		return i
	}
	return max(i-1, 0)
}

// Cuts are the places where pauses longer than limit are shortened to it.
func (v *View) Cuts(limit time.Duration) Cuts {
	var c Cuts
	var cut time.Duration
	for _, g := range v.Gaps {
		if limit > 0 && g.For > limit {
			cut += g.For - limit
			c = append(c, Cut{From: g.At + limit, To: g.At + g.For, Before: cut})
		}
	}
	return c
}

// A Cut leaves out what lies between From and To.
type Cut struct {
	From, To time.Duration
	Before   time.Duration // cut out up to To
}

// Cuts are in order.
type Cuts []Cut

// Played is when the moment t of the session is played.
func (c Cuts) Played(t time.Duration) time.Duration {
	i, _ := slices.BinarySearchFunc(c, t, func(c Cut, t time.Duration) int {
		if c.From <= t {
			return -1
		}
		return 1
	})
	if i == 0 {
		return t
	}
	last := c[i-1]
	if t < last.To { // within what is cut out
		return last.From - (last.Before - (last.To - last.From))
	}
	return t - last.Before
}
