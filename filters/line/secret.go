package line

import (
	"regexp"
	"strings"

	"github.com/sallyport-ssh/sallyport/filters/command"
)

// screens are programs that take the whole screen and have no command line of a shell in them. What they can be told
// to run is a matter of the decision on them: editors and pagers are interpreters.
var screens = map[string]bool{
	"vi": true, "vim": true, "nvim": true, "view": true, "vimdiff": true, "rvim": true, "nano": true, "rnano": true, "pico": true,
	"emacs": true, "joe": true, "jed": true, "ne": true, "micro": true, "ed": true, "less": true, "more": true, "most": true, "man": true, "info": true,
	"top": true, "htop": true, "atop": true, "btop": true, "iotop": true, "iftop": true, "nmon": true, "watch": true, "ncdu": true,
	"git": true, "systemctl": true, "journalctl": true, "sudoedit": true, "visudo": true, "vipw": true, "crontab": true, "dialog": true, "whiptail": true,
}

// fullScreen says whether f is such a program, and nothing that reads lines beside it.
func fullScreen(f *command.Facts) bool {
	found := false
	for _, p := range f.Programs {
		switch {
		case screens[p.Name]:
			found = true
		case p.Classes.Has(command.Interpreter), shells[p.Name]:
			return false
		}
	}
	return found
}

// shells are programs in which commands are typed.
var shells = map[string]bool{
	"sh": true, "bash": true, "rbash": true, "zsh": true, "dash": true, "ash": true, "ksh": true, "mksh": true, "fish": true, "csh": true, "tcsh": true,
	"busybox": true, "tmux": true, "screen": true, "ssh": true, "mosh": true, "su": true, "script": true, "docker": true, "podman": true,
	"kubectl": true, "nsenter": true, "chroot": true, "unshare": true, "expect": true, "telnet": true,
}

// askers are programs that ask for a password before they do anything else.
var askers = map[string]bool{
	"sudo": true, "su": true, "doas": true, "ssh": true, "scp": true, "sftp": true, "rsync": true, "passwd": true, "kinit": true, "ssh-add": true,
	"ssh-keygen": true, "gpg": true, "openssl": true, "mysql": true, "mysqldump": true, "psql": true, "pg_dump": true, "cryptsetup": true,
	"htpasswd": true, "git": true, "docker": true, "podman": true, "vault": true, "az": true, "kubectl": true, "login": true, "curl": true,
}

// asksSecret says whether f is one simple command of such a program. With anything beside it the echo could be
// off for another reason.
func asksSecret(f *command.Facts) bool {
	name, _, _ := strings.Cut(strings.TrimSpace(f.Text), " ")
	return askers[name] && !strings.ContainsAny(f.Text, ";|&<>()`$\n\\")
}

// maxSecrets is how often one command may ask.
const maxSecrets = 3

var secretPrompt = regexp.MustCompile(`(?i)(password|passphrase|passcode|\bpin\b|verification code|one-time|\botp\b)[^$#%>]{0,80}[:?]\s*$`)

// IsSecret says whether a line that is [Hidden] is a password, as far as one can tell: the last command is one that
// asks for passwords and does nothing else, it does not ask too often, the prompt asks for one and is not the
// shell's, and what was typed is no command that would change something. Such a line is nobody's to read.
func (r *Reader) IsSecret(v View) bool {
	return v.Seen == Hidden && r.known && r.carry == "" && r.shadow && r.secrets < maxSecrets &&
		secretPrompt.MatchString(v.Prompt) && !r.isPrompt(v.Prompt) && !IsCommand(v.Text)
}

// IsCommand says whether a hidden text is rather a command than a password: it names a program that changes
// something, or a file to run.
func IsCommand(text string) bool {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "~/") {
		return true
	}
	return command.Parse(text).Classes&^command.Read != 0
}
