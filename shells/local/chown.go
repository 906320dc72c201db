package local

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxDepth of a tree that is given away; deeper is an error and not a stack that grows.
const maxDepth = 256

// chownTree gives path and all below it to uid and gid, without ever following a symbolic link: what is
// in the tree was perhaps made by a session.
func chownTree(path string, uid, gid int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return chownFD(fd, uid, gid, 0)
}

// chownFD owns fd.
func chownFD(fd, uid, gid, depth int) error {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if int(st.Uid) != uid || int(st.Gid) != gid {
		if err := unix.Fchown(fd, uid, gid); err != nil {
			return err
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	if depth >= maxDepth {
		return fmt.Errorf("more than %d directories deep", maxDepth)
	}
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			if err := chownEntry(fd, name, uid, gid, depth); err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
		}
		if err != nil {
			return nil // io.EOF: the names were all
		}
	}
}

func chownEntry(dir int, name string, uid, gid, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return ignoreGone(err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return ignoreGone(err)
		}
		return chownFD(fd, uid, gid, depth+1)
	}
	if st.Nlink > 1 || (int(st.Uid) == uid && int(st.Gid) == gid) {
		return nil // another name of it may lie outside the tree
	}
	return ignoreGone(unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW))
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
