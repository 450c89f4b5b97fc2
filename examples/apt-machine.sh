# Functions that tell how this machine's apt reaches Debian. To be sourced.

# Settings that differ from apt's defaults and have to do with reaching a mirror, in the syntax of apt.conf.
apt_settings() {
	local bare defaults
	bare=$(mktemp)
	printf 'Dir::Etc::main "/dev/null";\nDir::Etc::parts "/dev/null";\n' >"$bare"
	defaults=$(APT_CONFIG=$bare apt-config dump | sort)
	rm -f "$bare"
	# What only trims the machine's own disk is left out; so are lists (Foo::) and empty parents.
	comm -13 <(echo "$defaults") <(apt-config dump | sort) |
		grep -E '^Acquire::[^ ]*[^: ] "[^"]+";$' |
		grep -vE '^Acquire::(IndexTargets|GzipIndexes|Languages|CompressionTypes)' || true
}

# apt_sources SUITE: Debian's own sources of that suite that this machine uses, one line each; nothing if it uses none.
apt_sources() {
	# Only an index that is there tells whose it is, and images of Debian come without.
	[[ -n $(apt-get indextargets 'Identifier: Packages') ]] || apt-get update >/dev/null 2>&1 || true
	local known
	known=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Identifier: Packages' 'Origin: Debian' 2>/dev/null |
		grep -E " $1(-updates|-security)? main\$" | sort -u) || true
	if grep -q " $1 main" <<<"$known"; then
		echo "$known"
	fi
}

# debian_sources SUITE: the same, and where the machine uses none of them the public ones.
debian_sources() {
	apt_sources "$1" | grep . || cat <<-SOURCES
		deb http://deb.debian.org/debian $1 main
		deb http://deb.debian.org/debian $1-updates main
		deb http://deb.debian.org/debian-security $1-security main
	SOURCES
}

# apt_for ARCH DIR SUITE ARGUMENT…: apt-get for packages of another architecture. What it fetches and remembers is in DIR, an
# absolute path; what the machine has installed is neither asked nor changed.
apt_for() {
	local arch=$1 dir=$2 suite=$3
	shift 3
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	touch "$dir/status"
	[[ -s $dir/sources.list ]] || debian_sources "$suite" >"$dir/sources.list"
	apt-get -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o Dir::State="$dir" -o Dir::State::status="$dir/status" \
		-o Dir::Cache="$dir" -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null "$@"
}
