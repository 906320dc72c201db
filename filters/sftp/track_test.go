package sftp_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-ssh/sallyport/filters/sftp"
)

// talk is a session told packet by packet.
type talk struct {
	*testing.T
	tracker *sftp.Tracker
}

func newTalk(t *testing.T) talk {
	k := talk{t, sftp.NewTracker(sftp.Limits{})}
	k.request(nil, 1, 3)
	k.reply(nil, 2, 3)
	return k
}

// request resolves and sends, and wants the error given of either.
func (k talk) request(want error, kind byte, fields ...any) sftp.Request {
	k.Helper()
	r, err := sftp.Parse(wire(kind, fields...))
	if err != nil {
		k.Fatal(err)
	}
	if err = k.tracker.Resolve(&r); err == nil {
		err = k.tracker.Sent(&r)
	}
	if !errors.Is(err, want) {
		k.Errorf("%s: %v, want %v", r.Op, err, want)
	}
	return r
}

func (k talk) reply(want error, kind byte, fields ...any) *sftp.File {
	k.Helper()
	r, err := sftp.ParseReply(wire(kind, fields...))
	if err != nil {
		k.Fatal(err)
	}
	f, err := k.tracker.Received(&r)
	if !errors.Is(err, want) {
		k.Errorf("reply: %v, want %v", err, want)
	}
	return f
}

func (k talk) open(handle, path string, flags int) {
	k.Helper()
	k.request(nil, 3, 1000, path, flags, 0)
	k.reply(nil, 102, 1000, handle)
}

func (k talk) close(handle string) sftp.File {
	k.Helper()
	k.request(nil, 4, 1001, handle)
	f := k.reply(nil, 101, 1001, 0)
	if f == nil {
		k.Fatal("closing tells no file")
	}
	return *f
}

func (k talk) write(offset int, data string, status int) {
	k.Helper()
	k.request(nil, 6, 1002, "w", uint64(offset), data)
	k.reply(nil, 101, 1002, status)
}

// read has one request answered by data, or by EOF if there is none.
func (k talk) read(offset int, data string) {
	k.Helper()
	k.request(nil, 5, 1003, "r", uint64(offset), max(len(data), 1))
	if data == "" {
		k.reply(nil, 101, 1003, 1)
	} else {
		k.reply(nil, 103, 1003, data)
	}
}

func sum(data string, eof bool) sftp.Sum {
	h := sha256.Sum256([]byte(data))
	return sftp.Sum{Bytes: uint64(len(data)), SHA256: h[:], EOF: eof}
}

func TestTrackSums(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(k talk)
		want sftp.File
	}{
		{"written", func(k talk) { k.write(0, "hello ", 0); k.write(6, "world", 0) }, sftp.File{Written: sum("hello world", false)}},
		{"written with a gap", func(k talk) { k.write(0, "a", 0); k.write(2, "b", 0) }, sftp.File{Written: sftp.Sum{Bytes: 2}}},
		{"written on", func(k talk) { k.write(5, "a", 0) }, sftp.File{Written: sftp.Sum{Bytes: 1}}},
		{"written again", func(k talk) { k.write(0, "a", 0); k.write(0, "a", 0) }, sftp.File{Written: sftp.Sum{Bytes: 2}}},
		{"a write that failed", func(k talk) { k.write(0, "a", 4) }, sftp.File{Written: sftp.Sum{Bytes: 1}}},
		{"cut to what it is", func(k talk) { k.write(0, "ab", 0); k.request(nil, 10, 1, "w", 1, uint64(2)) }, sftp.File{Written: sum("ab", false)}},
		{"cut", func(k talk) { k.write(0, "ab", 0); k.request(nil, 10, 1, "w", 1, uint64(1)) }, sftp.File{Written: sftp.Sum{Bytes: 2}}},
		{"copied into", func(k talk) { k.request(nil, 200, 1, "copy-data", "w", uint64(0), uint64(0), "w", uint64(9)) }, sftp.File{}},
		{"untouched", func(k talk) {}, sftp.File{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newTalk(t)
			k.open("w", "/f", sftp.FlagWrite)
			tt.do(k)
			tt.want.Path, tt.want.Flags = "/f", sftp.FlagWrite
			if d := cmp.Diff(tt.want, k.close("w")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	k := newTalk(t)
	k.open("w", "/f", sftp.FlagWrite|sftp.FlagTrunc)
	if d := cmp.Diff(sum("", false), k.close("w").Written); d != "" {
		t.Errorf("made empty (-want +got):\n%s", d)
	}
	for _, tt := range []struct {
		name string
		do   func(k talk)
		want sftp.Sum
	}{
		{"whole", func(k talk) { k.read(0, "hello "); k.read(6, "world"); k.read(11, "") }, sum("hello world", true)},
		{"begun", func(k talk) { k.read(0, "hello ") }, sum("hello ", false)},
		{"empty", func(k talk) { k.read(0, "") }, sum("", true)},
		{"EOF behind the end", func(k talk) { k.read(0, "a"); k.read(2, "") }, sum("a", false)},
		{"grown after EOF", func(k talk) { k.read(0, "a"); k.read(1, ""); k.read(1, "b") }, sum("ab", false)},
		{"from the middle", func(k talk) { k.read(5, "a"); k.read(6, "") }, sftp.Sum{Bytes: 1}},
		{"twice", func(k talk) { k.read(0, "a"); k.read(0, "a") }, sftp.Sum{Bytes: 2}},
		{"pipelined", func(k talk) {
			k.request(nil, 5, 1, "r", uint64(0), 5)
			k.request(nil, 5, 2, "r", uint64(5), 5)
			k.reply(nil, 103, 1, "01234")
			k.reply(nil, 103, 2, "56789")
		}, sum("0123456789", false)},
		{"answered out of order", func(k talk) {
			k.request(nil, 5, 1, "r", uint64(0), 5)
			k.request(nil, 5, 2, "r", uint64(5), 5)
			k.reply(nil, 103, 2, "56789")
			k.reply(nil, 103, 1, "01234")
		}, sftp.Sum{Bytes: 10}},
	} {
		t.Run("read "+tt.name, func(t *testing.T) {
			k := newTalk(t)
			k.open("r", "/f", sftp.FlagRead)
			tt.do(k)
			if d := cmp.Diff(sftp.File{Path: "/f", Flags: sftp.FlagRead, Read: tt.want}, k.close("r")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestTrackHandles(t *testing.T) {
	k := newTalk(t)
	k.request(sftp.ErrHandle, 6, 1, "h", uint64(0), "guessed")
	k.open("h", "/a", sftp.FlagRead)
	if r := k.request(nil, 10, 2, "h", 4, 0o777); r.Path != "/a" || r.Needs()[0] != (sftp.Need{Class: sftp.Attributes, Path: "/a"}) {
		t.Errorf("fsetstat of %q needs %v", r.Path, r.Needs())
	}
	k.request(sftp.ErrID, 13, 2, "/b")
	k.reply(nil, 101, 2, 0)
	k.request(nil, 3, 3, "/refused", 1, 0)
	k.reply(nil, 101, 3, 3)
	k.request(nil, 11, 4, "/dir")
	k.reply(nil, 102, 4, "d")
	left := k.tracker.End()
	if d := cmp.Diff([]sftp.File{{Path: "/a", Flags: 1}, {Path: "/dir", Dir: true}}, left); d != "" {
		t.Errorf("open at the end (-want +got):\n%s", d)
	}
}

// A server gives out a handle again as soon as it is closed. Between the CLOSE and its answer, a request for
// it would be decided for the old file and done to the new one.
func TestTrackHandleReuse(t *testing.T) {
	k := newTalk(t)
	k.open("h", "/mine", sftp.FlagRead)
	k.request(nil, 4, 1, "h")
	k.request(nil, 3, 2, "/theirs", sftp.FlagRead, 0)
	k.request(sftp.ErrHandle, 10, 3, "h", 4, 0o777)
	k.reply(nil, 101, 1, 0)
	k.reply(nil, 102, 2, "h")
	if r := k.request(nil, 10, 3, "h", 4, 0o777); r.Path != "/theirs" {
		t.Errorf("the handle is of %q", r.Path)
	}
	k.reply(nil, 101, 3, 0)

	// The same when the decision took long: what was resolved is what is sent.
	held, err := sftp.Parse(wire(10, 5, "h", 4, 0o777))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.tracker.Resolve(&held); err != nil {
		t.Fatal(err)
	}
	k.close("h")
	k.open("h", "/other", sftp.FlagRead)
	if err := k.tracker.Sent(&held); !errors.Is(err, sftp.ErrHandle) {
		t.Errorf("sent for %q: %v", held.Path, err)
	}
}

func TestTrackOrder(t *testing.T) {
	k := talk{t, sftp.NewTracker(sftp.Limits{Handles: 2, Pending: 3})}
	k.request(sftp.ErrOrder, 13, 1, "/a")
	k.reply(sftp.ErrOrder, 2, 3)
	k.request(nil, 1, 3)
	k.request(sftp.ErrOrder, 1, 3)
	k.reply(sftp.ErrReply, 101, 1, 0)
	k.reply(nil, 2, 3)
	k.reply(sftp.ErrOrder, 2, 3)

	for name, reply := range map[string][]any{
		"an id nobody used": {byte(101), 99, 0}, "a handle for a REMOVE": {byte(102), 1, "h"}, "data for a REMOVE": {byte(103), 1, "x"},
		"names for a REMOVE": {byte(104), 1, 0}, "attributes for a REMOVE": {byte(105), 1, 0}, "an extended reply for a REMOVE": {byte(201), 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := talk{t, k.tracker}
			k.request(nil, 13, 1, "/a")
			k.reply(sftp.ErrReply, reply[0].(byte), reply[1:]...)
			k.reply(nil, 101, 1, 0)
		})
	}

	k.open("a", "/a", 1)
	k.request(nil, 3, 1, "/b", 1, 0)
	k.request(sftp.ErrTooMany, 3, 2, "/c", 1, 0)
	k.request(sftp.ErrTooMany, 11, 2, "/c")
	k.request(nil, 5, 2, "a", uint64(0), 4)
	k.request(nil, 13, 3, "/d")
	k.request(sftp.ErrTooMany, 13, 4, "/e")
	k.reply(sftp.ErrReply, 103, 2, "12345") // more than was asked for
	k.reply(sftp.ErrReply, 102, 1, "a")     // a handle that is open
}

func TestTrackAbs(t *testing.T) {
	k := newTalk(t)
	check := func(path, want string, known bool) {
		t.Helper()
		if got, ok := k.tracker.Abs(path); got != want || ok != known {
			t.Errorf("Abs(%q) = %q, %v, want %q, %v", path, got, ok, want, known)
		}
	}
	check("/a/../b/./c//", "/b/c", true)
	check("/../../etc", "/etc", true)
	check("x", "x", false)
	k.request(nil, 16, 1, "sub")
	k.reply(nil, 104, 1, 1, "/elsewhere", "", 0)
	check("x", "x", false)
	k.request(nil, 16, 1, ".")
	k.reply(nil, 104, 1, 1, "/home/dev", "", 0)
	check("x", "/home/dev/x", true)
	check("../../etc/passwd", "/etc/passwd", true)
	check("", "/home/dev", true)
}

// Whatever two peers say, nothing grows without bound and every file has one path from beginning to end.
func FuzzTracker(f *testing.F) {
	f.Add(uint64(1), uint16(500))
	f.Add(uint64(99), uint16(5000))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		tracker := sftp.NewTracker(sftp.Limits{Handles: 4, Pending: 8})
		handles := map[string]string{} // as the server has them
		open := map[int]string{}       // OPENs that are not answered
		for range steps {
			id, h, path := rnd.IntN(12), fmt.Sprint(rnd.IntN(6)), fmt.Sprint("/", rnd.IntN(9))
			var p sftp.Packet
			switch rnd.IntN(12) {
			case 0:
				p = wire(1, 3)
			case 1, 2:
				p = wire(3, id, path, rnd.IntN(64), 0)
			case 3:
				p = wire(4, id, h)
			case 4:
				p = wire(5, id, h, uint64(rnd.IntN(3)), rnd.IntN(3))
			case 5:
				p = wire(6, id, h, uint64(rnd.IntN(3)), "xx")
			case 6:
				p = wire(10, id, h, 1, uint64(rnd.IntN(3)))
			case 7:
				p = wire(200, id, "copy-data", h, uint64(0), uint64(0), fmt.Sprint(rnd.IntN(6)), uint64(0))
			default:
				reply(t, tracker, rnd, id, h, handles, open)
				continue
			}
			r, err := sftp.Parse(p)
			if err != nil {
				t.Fatal(err)
			}
			if tracker.Resolve(&r) != nil || tracker.Sent(&r) != nil {
				continue
			}
			if len(r.Handle) > 0 && r.Path != handles[string(r.Handle)] {
				t.Fatalf("%s of handle %s is of %q, the server has %q", r.Op, r.Handle, r.Path, handles[string(r.Handle)])
			}
			if strings.HasPrefix(r.Op.String(), "open") {
				open[id] = r.Path
			}
		}
		if n := len(tracker.End()); n > 4 {
			t.Fatalf("%d files are open", n)
		}
	})
}

// reply lets a server that may lie answer id.
func reply(t *testing.T, tracker *sftp.Tracker, rnd *rand.Rand, id int, h string, handles map[string]string, open map[int]string) {
	p := wire(101, id, rnd.IntN(3))
	switch rnd.IntN(4) {
	case 0:
		p = wire(102, id, h)
	case 1:
		p = wire(103, id, "x")
	case 2:
		p = wire(2, 3)
	}
	r, err := sftp.ParseReply(p)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tracker.Received(&r)
	if err != nil {
		return
	}
	if r.Type == 102 {
		handles[h] = open[id]
	}
	if f != nil && f.Path == "" {
		t.Fatalf("closed %+v", f)
	}
}
