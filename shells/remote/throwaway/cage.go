package throwaway

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// firstID is who root in the cage is on the host when root started the server; the other users of the
// cage follow it. Nothing else allocates ids there.
const (
	firstID = 1900100000
	idCount = 65536
)

// command is one sshd, which speaks to its standard input. done frees what the parent held for it.
func (s *Server) command() (cmd *exec.Cmd, done func(), err error) {
	sshd := []string{sshdPath, "-i", "-e", "-f", "/etc/ssh/sshd_config"}
	if s.o.InsecureNoCage {
		sshd[4] = filepath.Join(s.dir, "sshd_config")
		cmd = exec.Command(sshd[0], sshd[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd, func() {}, nil
	}
	args, files, err := s.cage()
	done = func() {
		for _, f := range files {
			f.Close()
		}
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	cmd = exec.Command(bwrapPath, append(append(args, "--"), sshd...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.uid == 0 {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstID, Size: idCount}}
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 0, Gid: 0}
	}
	return cmd, done, nil
}

// cage is bwrap's part of the command line, and the files it names by descriptor.
func (s *Server) cage() (args []string, files []*os.File, err error) {
	add := func(a ...string) { args = append(args, a...) }
	add("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup", "--unshare-net", "--die-with-parent",
		"--hostname", s.o.Name, "--cap-drop", "ALL")
	if s.uid == 0 {
		for _, c := range []string{"SETUID", "SETGID", "SYS_CHROOT", "CHOWN", "FOWNER", "DAC_OVERRIDE", "KILL"} {
			add("--cap-add", "CAP_"+c)
		}
	} else {
		add("--unshare-user")
	}
	add("--ro-bind", "/usr", "/usr")
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if to, err := os.Readlink(dir); err == nil {
			add("--symlink", to, dir)
		} else if _, err := os.Stat(dir); err == nil {
			add("--ro-bind", dir, dir)
		}
	}
	add("--proc", "/proc", "--dev", "/dev", "--perms", "0755", "--dir", "/run", "--perms", "0755", "--dir", "/run/sshd",
		"--perms", "0755", "--dir", "/var", "--dir", "/var/empty", "--perms", "0755", "--dir", "/etc", "--perms", "0755", "--dir", "/etc/ssh",
		"--bind", filepath.Join(s.dir, "home"), s.home, "--bind", filepath.Join(s.dir, "tmp"), "/tmp")
	for _, p := range []string{"/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/terminfo"} {
		add("--ro-bind-try", p, p)
	}
	accounts := "root:x:0:0:root:/root:/bin/bash\n"
	groups := "root:x:0:\n"
	if s.uid != 0 {
		id := fmt.Sprintf(":x:%d:%d::", s.uid, os.Getegid())
		accounts = s.Login + id + s.home + ":/bin/bash\n"
		groups = fmt.Sprintf("%s:x:%d:\n", s.Login, os.Getegid())
	}
	conf := []file{
		{"/etc/passwd", accounts + "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n", "0644"},
		{"/etc/group", groups + "nogroup:x:65534:\n", "0644"},
		{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n", "0644"},
		{"/etc/profile", "PS1='\\u@\\h:\\w\\$ '\n", "0644"},
		{"/etc/hosts", "127.0.0.1\tlocalhost " + s.o.Name + "\n", "0644"},
	}
	for _, f := range s.conf {
		f.path = "/etc/ssh/" + f.path
		conf = append(conf, f)
	}
	for _, f := range conf {
		fd, err := memFile(f.text)
		if err != nil {
			return nil, files, err
		}
		add("--perms", f.perms, "--file", strconv.Itoa(3+len(files)), f.path)
		files = append(files, fd)
	}
	add("--remount-ro", "/")
	return args, files, nil
}

// memFile is a file in memory, at its beginning.
func memFile(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("throwaway", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "memory file")
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return nil, err
	}
	_, err = f.Seek(0, 0)
	return f, err
}
