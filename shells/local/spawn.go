package local

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// A spawner is one thread that starts all sandboxes of a target. They are told to die with the thread
// that started them, so it must not be one the runtime may end; and as root it lives in a mount
// namespace of its own, where directories that the sandbox's user could not walk to are within reach.
type spawner struct {
	jobs chan func()
	once sync.Once
	quit chan struct{}
	done chan struct{}
}

// startSpawner runs stage on the new thread, where it is not nil, and returns its error.
func startSpawner(stage func() error) (*spawner, error) {
	s := &spawner{jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		// A blocked signal is inherited by everything that is started here.
		var none unix.Sigset_t
		err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil)
		// So is a descriptor that whoever started the gate left open in it.
		unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
		if err == nil && stage != nil {
			err = stage()
		}
		ready <- err
		if err != nil {
			return
		}
		for {
			select {
			case job := <-s.jobs:
				job()
			case <-s.quit:
				return
			}
		}
	}()
	if err := <-ready; err != nil {
		<-s.done
		return nil, err
	}
	return s, nil
}

// do runs f on the thread and returns when it has. It is false when the target is closed.
func (s *spawner) do(f func()) bool {
	ran := make(chan struct{})
	select {
	case s.jobs <- func() { f(); close(ran) }:
		<-ran
		return true
	case <-s.quit:
		return false
	}
}

func (s *spawner) stop() {
	s.once.Do(func() { close(s.quit) })
	<-s.done
}

// stageDir is where staged binds lie, in the mount namespace of a spawner only.
const stageDir = "/tmp"

// stageBinds takes the calling thread into a mount namespace of its own and shows the sources there as
// stageDir/0, stageDir/1 and so on, which every user can reach.
func stageBinds(sources []string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("%w: a mount namespace of its own: %w", errNoSandbox, err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("%w: making mounts private: %w", errNoSandbox, err)
	}
	trees := make([]int, len(sources))
	for i, src := range sources {
		fd, err := unix.OpenTree(unix.AT_FDCWD, src, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("bind %s: %w", src, err)
		}
		defer unix.Close(fd)
		trees[i] = fd
	}
	if err := unix.Mount("tmpfs", stageDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("%w: staging: %w", errNoSandbox, err)
	}
	for i, fd := range trees {
		if err := stageOne(fd, fmt.Sprintf("%s/%d", stageDir, i)); err != nil {
			return fmt.Errorf("bind %s: %w", sources[i], err)
		}
	}
	return nil
}

func stageOne(tree int, at string) error {
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.Mkdir(at, 0o755); err != nil {
			return err
		}
	} else if err := os.WriteFile(at, nil, 0o644); err != nil {
		return err
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
