package local

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/shells/hook"
)

// Programs that a sandbox is made of.
const (
	bwrapPath   = "/usr/bin/bwrap"
	dashPath    = "/bin/dash"
	setsidPath  = "/usr/bin/setsid"
	prlimitPath = "/usr/bin/prlimit"
	envPath     = "/usr/bin/env"
)

type tool struct{ path, pkg string }

var tools = []tool{{bwrapPath, "bubblewrap"}, {dashPath, "dash"}, {setsidPath, "util-linux"},
	{prlimitPath, "util-linux"}, {envPath, "coreutils"}}

// findTools names what is missing, and the Debian package that has it.
func findTools() error {
	for _, t := range tools {
		if _, err := os.Stat(t.path); err != nil {
			return fmt.Errorf("%w: %s is missing, and sessions would run with the gate's files in reach: "+
				"install the package %s", errNoSandbox, t.path, t.pkg)
		}
	}
	return nil
}

// box is what is the same for every sandbox of a target.
type box struct {
	args  []string     // of bwrap
	devAt int          // index in args where more of /dev can be added
	files []*os.File   // contents for --file, at the descriptors firstFile and up
	stage func() error // what the spawner's thread does first; nil: nothing
}

// Descriptors of bwrap and of the wrapper in it. 0 is the gate's hold on the sandbox, 2 its diagnostics.
const (
	fdIn    = 3 // the command's standard input, output and error
	fdOut   = 4
	fdErr   = 5
	fdHello = 6 // tells the gate the command's process id
	fdArgs  = 7
	fdInfo  = 8
	fdHook  = hook.Descriptor // inherited by a guarded shell
	fdFiles = 10
)

// wrapper is the parent of the command. It does not wait for it: so its wait status stays to be read
// from outside, exactly, where bwrap itself would report a signal as an exit status of 128 and more. It
// ends when the gate lets go of its standard input or is gone, and everything in the sandbox with it.
//
// It has to become another program at once: a shell looks for children that ended between its commands.
const wrapper = `SALLYPORT_GUARD=/proc/$$/fd/9
[ -e $SALLYPORT_GUARD ] && export SALLYPORT_GUARD || unset SALLYPORT_GUARD
{ ( echo hello >&6; exec "$@" <&3 >&4 2>&5 3<&- 4>&- 5>&- 6>&- 7<&- 8>&- ) &
exec /usr/bin/cat 3<&- 4>&- 5>&- 6>&- 7<&- 8>&-; }`

// wrapperPath is where it lies inside.
const wrapperPath = "/etc/session"

// newBox works out the arguments.
func newBox(c Config) (*box, error) {
	b := &box{}
	root := os.Geteuid() == 0
	b.add("--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000",
		"--cap-drop", "ALL", "--die-with-parent", "--hostname", c.Name, "--clearenv")
	if c.HostNetwork {
		b.add("--share-net")
	}
	b.system()
	tmp := strconv.FormatUint(c.Limits.Tmp, 10)
	b.add("--proc", "/proc", "--dev", "/dev", "--size", tmp, "--tmpfs", "/dev/shm")
	b.devAt = len(b.args)
	b.add("--remount-ro", "/dev",
		"--perms", "1777", "--size", tmp, "--tmpfs", "/tmp",
		"--perms", "0755", "--dir", filepath.Dir(c.Home), "--perms", "0700", "--size", tmp, "--tmpfs", c.Home)
	if err := b.etc(c); err != nil {
		b.close()
		return nil, err
	}
	sources := make([]string, len(c.Binds))
	for i, bind := range c.Binds {
		if _, err := os.Stat(bind.Source); err != nil {
			b.close()
			return nil, fmt.Errorf("bind: %w", err)
		}
		sources[i] = bind.Source
		from := bind.Source
		if root {
			from = fmt.Sprintf("%s/%d", stageDir, i)
		}
		op := "--ro-bind"
		if bind.RW {
			op = "--bind"
		}
		b.add(op, from, bind.Dest)
	}
	b.add("--remount-ro", "/", "--chdir", c.Dir)
	if root {
		b.stage = func() error { return stageBinds(sources) }
	}
	return b, nil
}

func (b *box) add(args ...string) { b.args = append(b.args, args...) }

// system shows the programs of the host, read-only.
func (b *box) system() {
	b.add("--ro-bind", "/usr", "/usr")
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if to, err := os.Readlink(dir); err == nil {
			b.add("--symlink", to, dir)
		} else if _, err := os.Stat(dir); err == nil {
			b.add("--ro-bind", dir, dir)
		}
	}
}

// publicEtc is what of /etc programs need and nobody has to hide.
var publicEtc = []string{"/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
	"/etc/localtime", "/etc/timezone", "/etc/terminfo", "/etc/ssl/certs", "/etc/ca-certificates.conf",
	"/etc/debian_version", "/etc/os-release", "/etc/mime.types", "/etc/protocols", "/etc/services"}

// etc makes a small /etc: users and groups of our own, and nothing of the host that is not public.
func (b *box) etc(c Config) error {
	b.add("--perms", "0755", "--dir", "/etc", "--perms", "0755", "--dir", "/etc/ssl")
	for _, path := range publicEtc {
		b.add("--ro-bind-try", path, path)
	}
	hosts := "127.0.0.1\tlocalhost " + c.Name + "\n::1\tlocalhost\n"
	if c.HostNetwork {
		b.add("--ro-bind-try", "/etc/hosts", "/etc/hosts", "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf")
	} else if err := b.file("/etc/hosts", hosts); err != nil {
		return err
	}
	for _, f := range []struct{ path, text string }{
		{"/etc/passwd", "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n" +
			c.User + ":x:1000:1000::" + c.Home + ":" + c.Shell[0] + "\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
		{"/etc/group", "root:x:0:\n" + c.User + ":x:1000:\nnogroup:x:65534:\n"},
		{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"},
		{"/etc/hostname", c.Name + "\n"},
		{"/etc/inputrc", "set enable-bracketed-paste on\nset meta-flag on\nset input-meta on\nset convert-meta off\nset output-meta on\n"},
		{"/etc/bash.bashrc", "PS1='\\u@\\h:\\w\\$ '\n"},
		{"/etc/profile", "PS1='\\u@\\h:\\w\\$ '\n"},
		{wrapperPath, wrapper},
		{guardPath, guardScript},
		{zshPath, zshScript},
		{zshPipePath, zshScript},
	} {
		if err := b.file(f.path, f.text); err != nil {
			return err
		}
	}
	return nil
}

// file puts text at path.
func (b *box) file(path, text string) error {
	f, err := memFile(text)
	if err != nil {
		return err
	}
	b.add("--perms", "0644", "--file", strconv.Itoa(fdFiles+len(b.files)), path)
	b.files = append(b.files, f)
	return nil
}

func (b *box) close() {
	for _, f := range b.files {
		f.Close()
	}
}

// memFile is a file in memory that holds text, at its beginning.
func memFile(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("sallyport", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memory file")
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// reopen gives f a position of its own, for one sandbox.
func reopen(f *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// argsFile is what bwrap reads of --args: words, each ended by a zero byte. There no other user of the
// host can read them, as they could on a command line.
func argsFile(words []string) (*os.File, error) {
	var b bytes.Buffer
	for _, w := range words {
		b.WriteString(w)
		b.WriteByte(0)
	}
	return memFile(b.String())
}

// limitArgs is the command line of prlimit.
func limitArgs(l Limits) []string {
	args := []string{prlimitPath, "--core=0", fmt.Sprintf("--nproc=%d", l.Processes), fmt.Sprintf("--nofile=%d", l.OpenFiles)}
	if l.FileSize > 0 {
		args = append(args, fmt.Sprintf("--fsize=%d", l.FileSize))
	}
	if l.Data > 0 {
		args = append(args, fmt.Sprintf("--data=%d", l.Data))
	}
	return args
}

// dangerousEnv are names that change what the shell or the loader runs, rather than what a program does.
func dangerousEnv(name string) bool {
	switch name {
	case "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PROMPT_COMMAND", "PS0", "PS4", "IFS", "CDPATH", "GLOBIGNORE",
		"POSIXLY_CORRECT", "BASH_XTRACEFD", "INPUTRC", "HISTFILE", "HISTCONTROL", "HISTIGNORE", "HISTSIZE",
		"GLIBC_TUNABLES", "ZDOTDIR", "NULLCMD", "READNULLCMD", "MODULE_PATH", "FPATH", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMOUT", "FCEDIT", "BASH_COMPAT":
		return true
	}
	return strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "BASH_FUNC_") || strings.HasPrefix(name, "SALLYPORT_GUARD")
}
