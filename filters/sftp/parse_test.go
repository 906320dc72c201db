package sftp_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-ssh/sallyport/filters/sftp"
)

func TestParse(t *testing.T) {
	type needs = []sftp.Need
	for _, tt := range []struct {
		name   string
		packet sftp.Packet
		op     sftp.Op
		needs  needs
		facts  string // the names and values worth a look, in no order
	}{
		{"open to read", wire(3, 7, "/a", 0x01, 0), sftp.OpenRead, needs{{sftp.Reads, "/a"}}, "reads=true"},
		{"open with no flag reads", wire(3, 7, "/a", 0, 0), sftp.OpenRead, needs{{sftp.Reads, "/a"}}, "reads=true"},
		{"open to write", wire(3, 7, "/a", 0x02|0x08|0x10, 4, 0o100644), sftp.OpenWrite, needs{{sftp.Writes, "/a"}}, "reads=false creates=true truncates=true mode=33188"},
		{"open for both", wire(3, 7, "/a", 0x03, 0), sftp.OpenWrite, needs{{sftp.Writes, "/a"}, {sftp.Reads, "/a"}}, "reads=true creates=false"},
		{"truncate without write", wire(3, 7, "/a", 0x10, 0), sftp.OpenWrite, needs{{sftp.Writes, "/a"}, {sftp.Reads, "/a"}}, "truncates=true"},
		{"create, said to be reading", wire(3, 7, "/a", 0x09, 0), sftp.OpenWrite, needs{{sftp.Writes, "/a"}, {sftp.Reads, "/a"}}, "creates=true"},
		{"open with a flag nobody knows", wire(3, 7, "/a", 0x41, 0), sftp.OpenWrite, needs{{sftp.Writes, "/a"}, {sftp.Reads, "/a"}}, ""},
		{"close", wire(4, 7, "h"), sftp.Close, nil, ""},
		{"read", wire(5, 7, "h", uint64(1), 2), sftp.Read, nil, ""},
		{"write", wire(6, 7, "h", uint64(1), "data"), sftp.Write, nil, ""},
		{"lstat", wire(7, 7, "/a"), sftp.Stat, needs{{sftp.Looks, "/a"}}, "path=/a"},
		{"stat", wire(17, 7, "/a"), sftp.Stat, needs{{sftp.Looks, "/a"}}, ""},
		{"chmod", wire(9, 7, "/a", 4, 0o4755), sftp.Setstat, needs{{sftp.Attributes, "/a"}}, "mode=2541 follows=true"},
		{"truncate", wire(9, 7, "/a", 1, uint64(0)), sftp.Setstat, needs{{sftp.Writes, "/a"}}, "size=0"},
		{"truncate and chown", wire(9, 7, "/a", 3, uint64(1<<63), 0, 0), sftp.Setstat, needs{{sftp.Writes, "/a"}, {sftp.Attributes, "/a"}}, "uid=0 gid=0 size=9223372036854775807"},
		{"times", wire(9, 7, "/a", 8, 1, 2), sftp.Setstat, needs{{sftp.Attributes, "/a"}}, ""},
		{"extended attributes", wire(9, 7, "/a", raw("\x80\x00\x00\x00"), 1, "name", "value"), sftp.Setstat, needs{{sftp.Attributes, "/a"}}, ""},
		{"lsetstat", wire(200, 7, "lsetstat@openssh.com", "/a", 4, 0), sftp.Setstat, needs{{sftp.Attributes, "/a"}}, "follows=false"},
		{"opendir", wire(11, 7, "/"), sftp.Opendir, needs{{sftp.Looks, "/"}}, ""},
		{"readdir", wire(12, 7, "h"), sftp.Readdir, nil, ""},
		{"remove", wire(13, 7, "/a"), sftp.Remove, needs{{sftp.Removes, "/a"}}, ""},
		{"mkdir", wire(14, 7, "/a", 4, 0o700), sftp.Mkdir, needs{{sftp.Writes, "/a"}}, "mode=448"},
		{"rmdir", wire(15, 7, "/a"), sftp.Rmdir, needs{{sftp.Removes, "/a"}}, ""},
		{"realpath", wire(16, 7, "."), sftp.Realpath, needs{{sftp.Looks, "."}}, ""},
		{"rename", wire(18, 7, "/a", "/b"), sftp.Rename, needs{{sftp.Renames, "/a"}, {sftp.Writes, "/b"}}, "new_path=/b replaces=false"},
		{"posix rename", wire(200, 7, "posix-rename@openssh.com", "/a", "/b"), sftp.Rename, needs{{sftp.Renames, "/a"}, {sftp.Writes, "/b"}}, "replaces=true extension=posix-rename@openssh.com"},
		{"readlink", wire(19, 7, "/a"), sftp.Readlink, needs{{sftp.Looks, "/a"}}, ""},
		{"symlink", wire(20, 7, "../etc/passwd", "/tmp/l"), sftp.Symlink, needs{{sftp.Writes, "/tmp/l"}, {sftp.Reads, "/etc/passwd"}, {sftp.Writes, "/etc/passwd"}}, "path=/tmp/l link_target=../etc/passwd"},
		{"symlink to a whole path", wire(20, 7, "/etc/passwd", "l"), sftp.Symlink, needs{{sftp.Writes, "l"}, {sftp.Reads, "/etc/passwd"}, {sftp.Writes, "/etc/passwd"}}, ""},
		{"hard link", wire(200, 7, "hardlink@openssh.com", "etc/passwd", "/tmp/l"), sftp.Hardlink, needs{{sftp.Writes, "/tmp/l"}, {sftp.Reads, "etc/passwd"}, {sftp.Writes, "etc/passwd"}}, ""},
		{"fsync", wire(200, 7, "fsync@openssh.com", "h"), sftp.Fsync, nil, ""},
		{"statvfs", wire(200, 7, "statvfs@openssh.com", "/"), sftp.Statvfs, needs{{sftp.Looks, "/"}}, ""},
		{"limits", wire(200, 7, "limits@openssh.com"), sftp.Info, nil, ""},
		{"expand-path", wire(200, 7, "expand-path@openssh.com", "~/x"), sftp.Realpath, needs{{sftp.Looks, "~/x"}}, ""},
		{"copy-data", wire(200, 7, "copy-data", "h", uint64(0), uint64(0), "i", uint64(0)), sftp.CopyData, nil, ""},
		{"home-directory", wire(200, 7, "home-directory", "root"), sftp.Info, nil, ""},
		{"users-groups-by-id", wire(200, 7, "users-groups-by-id@openssh.com", "\x00\x00\x00\x00", ""), sftp.Info, nil, ""},
		{"unknown extension", wire(200, 7, "exec@example.com", "rm -rf /"), sftp.Unknown, needs{{sftp.Refused, ""}}, "extension=exec@example.com"},
		{"unknown packet", wire(21, 7, "/a"), sftp.Unknown, needs{{sftp.Refused, ""}}, ""},
		{"a reply", wire(101, 7, 0, "", ""), sftp.Unknown, needs{{sftp.Refused, ""}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := sftp.Parse(tt.packet)
			if err != nil {
				t.Fatal(err)
			}
			if r.ID != 7 || r.Op != tt.op {
				t.Errorf("id %d, %s, want %s", r.ID, r.Op, tt.op)
			}
			if d := cmp.Diff(tt.needs, r.Needs()); d != "" {
				t.Errorf("needs (-want +got):\n%s", d)
			}
			checkFacts(t, r.Facts(), tt.op, tt.facts)
			if string(r.Relay(tt.packet)) != string(tt.packet) {
				t.Error("the packet is not relayed as it is")
			}
		})
	}
}

func checkFacts(t *testing.T, facts map[string]any, op sftp.Op, want string) {
	t.Helper()
	if facts["operation"] != op.String() {
		t.Errorf("operation %v", facts["operation"])
	}
	for _, f := range strings.Fields(want) {
		name, value, _ := strings.Cut(f, "=")
		if got := text(facts[name]); got != value {
			t.Errorf("fact %s is %s, want %s", name, got, value)
		}
	}
}

// Each known request, cut anywhere or with a byte too many, is an error that still tells the id.
func TestParseMalformed(t *testing.T) {
	for _, p := range []sftp.Packet{
		wire(3, 7, "/a", 1, 15, uint64(1), 2, 3, 4, 5, 6), wire(4, 7, "h"), wire(5, 7, "h", uint64(1), 2), wire(6, 7, "h", uint64(1), "data"),
		wire(9, 7, "/a", raw("\x80\x00\x00\x00"), 1, "n", "v"), wire(18, 7, "/a", "/b"), wire(20, 7, "/a", "/b"),
		wire(200, 7, "copy-data", "h", uint64(0), uint64(0), "i", uint64(0)), wire(200, 7, "users-groups-by-id@openssh.com", "", ""),
		wire(200, 7, "limits@openssh.com"),
	} {
		for n := 9; n < len(p); n++ {
			cut := wire(p[4], raw(p[5:n]))
			if r, err := sftp.Parse(cut); r.ID != 7 || r.Op != sftp.Unknown || err == nil && p[4] != 200 {
				t.Errorf("type %d cut at %d of %d: id %d, %s, %v", p[4], n, len(p), r.ID, r.Op, err)
			}
		}
		if r, err := sftp.Parse(wire(p[4], raw(p[5:]), raw("\x00"))); r.ID != 7 || !errors.Is(err, sftp.ErrMalformed) {
			t.Errorf("type %d with a byte too many: id %d, %v", p[4], r.ID, err)
		}
	}
	for _, tt := range []struct {
		name   string
		packet sftp.Packet
		want   error
	}{
		{"nothing", nil, sftp.ErrMalformed},
		{"no type", sftp.Packet{0, 0, 0, 0}, sftp.ErrMalformed},
		{"no id", wire(13, raw("\x00")), sftp.ErrMalformed},
		{"NUL in a path", wire(13, 7, "/a\x00b"), sftp.ErrMalformed},
		{"NUL after a path", wire(13, 7, "/a\x00"), sftp.ErrMalformed},
		{"a long path", wire(13, 7, strings.Repeat("a", sftp.MaxPath+1)), sftp.ErrTooLong},
		{"a long handle", wire(4, 7, strings.Repeat("h", sftp.MaxHandle+1)), sftp.ErrTooLong},
		{"attributes nobody knows", wire(9, 7, "/a", 0x10), sftp.ErrMalformed},
		{"very many extended attributes", wire(9, 7, "/a", raw("\x80\x00\x00\x00\xff\xff\xff\xff")), sftp.ErrMalformed},
		{"a string longer than all", wire(13, 7, raw("\xff\xff\xff\xff/a")), sftp.ErrMalformed},
		{"an old version", wire(1, 2), sftp.ErrVersion},
		{"no version", wire(1), sftp.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := sftp.Parse(tt.packet); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// The peers never agree on a version whose packets mean other things than are read here.
func TestVersions(t *testing.T) {
	for _, p := range []sftp.Packet{wire(1, 6), wire(1, 3, "newline@vandyke.com", "\n")} {
		r, err := sftp.Parse(p)
		if err != nil || r.Op != sftp.Init {
			t.Fatal(r.Op, err)
		}
		if got := r.Relay(p); string(got) != string(wire(1, 3)) {
			t.Errorf("relayed as %x", got)
		}
	}
	p := wire(1, 3)
	if r, err := sftp.Parse(p); err != nil || string(r.Relay(p)) != string(p) {
		t.Errorf("%v", err)
	}

	if _, err := sftp.ParseReply(wire(2, 6)); !errors.Is(err, sftp.ErrVersion) {
		t.Errorf("a server that answers 6: %v", err)
	}
	p = wire(2, 3, "posix-rename@openssh.com", "1", "exec@example.com", "1", "limits@openssh.com", "1")
	r, err := sftp.ParseReply(p)
	if err != nil {
		t.Fatal(err)
	}
	if want := wire(2, 3, "posix-rename@openssh.com", "1", "limits@openssh.com", "1"); string(r.Relay(p)) != string(want) {
		t.Errorf("relayed as %q, want %q", r.Relay(p), want)
	}
	if _, err := sftp.ParseReply(wire(2, 3, "posix-rename@openssh.com")); !errors.Is(err, sftp.ErrMalformed) {
		t.Errorf("half an extension: %v", err)
	}
}

func TestParseReply(t *testing.T) {
	for _, tt := range []struct {
		name   string
		packet sftp.Packet
		want   error
	}{
		{"status", wire(101, 7, 3, "no", ""), nil},
		{"status without a message", wire(101, 7, 3), nil},
		{"handle", wire(102, 7, "h"), nil},
		{"data", wire(103, 7, "d"), nil},
		{"name", wire(104, 7, 1, "/a", "long", 0), nil},
		{"no name", wire(104, 7, 0), nil},
		{"attributes", wire(105, 7, 0), nil},
		{"extended reply", wire(201, 7, "x"), nil},
		{"nothing", nil, sftp.ErrMalformed},
		{"half a status", wire(101, 7), sftp.ErrMalformed},
		{"no id", wire(101), sftp.ErrMalformed},
		{"a handle too long", wire(102, 7, strings.Repeat("h", 257)), sftp.ErrTooLong},
		{"data that lies", wire(103, 7, raw("\x00\x00\x00\x09d")), sftp.ErrMalformed},
		{"a request", wire(3, 7, "/a", 1, 0), sftp.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := sftp.ParseReply(tt.packet)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if tt.want == nil && (r.ID != 7 || string(r.Relay(tt.packet)) != string(tt.packet)) {
				t.Errorf("id %d, relayed as %x", r.ID, r.Relay(tt.packet))
			}
		})
	}
}

func TestAppendStatus(t *testing.T) {
	got := sftp.AppendStatus([]byte("before"), 9, sftp.PermissionDenied, "no")
	if want := "before" + string(wire(101, 9, 3, "no", "")); string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	long := sftp.AppendStatus(nil, 9, sftp.Failure, strings.Repeat("x", 1023)+"é")
	if r, err := sftp.ParseReply(long); err != nil || r.Message != strings.Repeat("x", 1023) || r.Status != sftp.Failure {
		t.Errorf("%d bytes of message, %v", len(r.Message), err)
	}
	for err, want := range map[error]sftp.Status{
		nil: sftp.OK, sftp.ErrMalformed: sftp.BadMessage, sftp.ErrID: sftp.BadMessage, sftp.ErrHandle: sftp.Failure, sftp.ErrTooMany: sftp.Failure,
	} {
		if got := sftp.StatusFor(err); got != want {
			t.Errorf("StatusFor(%v) = %d, want %d", err, got, want)
		}
	}
}
