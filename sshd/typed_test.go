package sshd

import (
	"strings"
	"testing"
)

func TestOnlyShown(t *testing.T) {
	for _, tt := range []struct {
		name, keys, shown, want string
		lost                    bool
	}{
		{"completed", "cat fo\t", "cat foo.txt", "cat fo\t", false},
		{"completed, and typed on", "cat fo\t| wc", "cat foo.txt | wc", "cat fo\t| wc", false},
		{"recalled", "\x1b[A\x1b[A", "rm -rf x", "\x1b[A\x1b[A", false},
		{"hidden behind a completion", "\thunter2", "Password:", "\t", true},
		{"one run of two is shown", "ls\x1b[Dhunter2", "ls", "ls\x1b[D", true},
		{"arrows of an application", "\x1bOAx", "x", "\x1bOAx", false},
		{"an escape that is no sequence hides nothing", "\x1bhunter2", "$ ", "\x1b", true},
		{"cut sequences", "\x1b[", "", "\x1b", true},
		{"not UTF-8", "\xff\xfe", "x", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, lost := onlyShown([]byte(tt.keys), tt.shown)
			if string(got) != tt.want || lost != tt.lost {
				t.Errorf("got %q, %v; want %q, %v", got, lost, tt.want, tt.lost)
			}
		})
	}
}

func TestSecretStdin(t *testing.T) {
	for command, want := range map[string]bool{
		"cat > notes.txt": false, "wc -l": false, "psql shop": false, "tee /srv/app/config.env": false, "bash": false, "passenger-status": false,
		"sudo -S id": true, "cat x | sudo -S tee y": true, "docker login --password-stdin reg": true, "chpasswd": true, "passwd bob": true,
		"mysql --password": true, "cryptsetup open /dev/x y": true, "gpg --batch --passphrase-fd 0 -d x": true, "bash -c 'read -s pw'": true,
		"openssl enc -pass stdin": true, "su - postgres": true,
	} {
		if got := secretStdin.MatchString(command); got != want {
			t.Errorf("%q: %v, want %v", command, got, want)
		}
	}
}

// A value that corrections have cut into pieces becomes stars with all of its line; what is whole is left to the stream.
func TestStarred(t *testing.T) {
	s := &session{c: &connection{srv: &Server{o: Options{Masks: testMasks(t)}}}}
	k := &typed{kept: s.newKept()}
	for _, tt := range []struct{ keys, shown, want string }{
		{"echo 4111111111111111", "echo 4111111111111111", "echo 4111111111111111"},
		{"echo 4111111122\x7f\x7f11111111", "echo 4111111111111111", strings.Repeat("*", 15) + "\x7f\x7f" + strings.Repeat("*", 8)},
		{"echo 41111111\x1b[D\x1b[C11111111", "echo 4111111111111111", strings.Repeat("*", 13) + "\x1b[D\x1b[C" + strings.Repeat("*", 8)},
		{"echo helo\x7flo", "echo hello", "echo helo\x7flo"},
	} {
		if got := k.starred([]byte(tt.keys), tt.shown); string(got) != tt.want {
			t.Errorf("%q became %q, want %q", tt.keys, got, tt.want)
		}
	}
}
