# Shared parts of .ci/run and .ci/release: timed steps, an empty room, and the search for leftovers outside of it.
# Source it with the repository as the current folder.

# Restarts the calling script in a unique group. Files get the group of the process that creates them. So leftovers of this
# run can be distinguished from files that others put into /tmp and the home folder meanwhile. Choosing a group requires
# root. Without it only the room and the checkout are searched for leftovers.
use_own_group() {
  local group=$((50000 + $$ % 10000))
  [[ -z ${MBOK_CI_GROUP-} ]] || return 0
  if setpriv --regid "$group" --keep-groups true 2>/dev/null; then
    MBOK_CI_GROUP="$group" exec setpriv --regid "$group" --keep-groups "$BASH" "$PWD/.ci/$(basename "$0")" "$@"
  fi
  echo 'no group for this run alone: leftovers in /tmp and in the home folder are not searched'
}

# Redirects everything that programs store outside the checkout to new folders below $room, which end with the script.
# The user's configuration stays: it defines npm's registry and the repositories that git may read.
enter_empty_room() {
  real_home="$HOME" checkout_before="$(checkout_contents)"
  room="$(mktemp -d "${TMPDIR:-/tmp}/mbok-ci-XXXXXX")"
  trap 'rm -rf "$room"' EXIT
  mkdir "$room"/{home,tmp,mbok,xdg,npm,node}
  export NPM_CONFIG_USERCONFIG="${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc}"
  export GIT_CONFIG_GLOBAL="${GIT_CONFIG_GLOBAL:-$HOME/.gitconfig}"
  export HOME="$room/home" TMPDIR="$room/tmp" MBOK_CACHE="$room/mbok" XDG_CACHE_HOME="$room/xdg"
  export npm_config_cache="$room/npm" NODE_COMPILE_CACHE="$room/node"
}

# Runs a command, with a heading before it and its seconds after it: step NAME COMMAND [ARGUMENT...]
step() {
  local name="$1" began=$SECONDS status=0
  printf '\n== %s\n' "$name"
  "${@:2}" || status=$?
  printf -- '-- %s: %d s\n' "$name" $((SECONDS - began))
  return "$status"
}

# Prints the files of a group below folders: made_by GROUP FOLDER... Files that others remove meanwhile are no error.
made_by() {
  find "${@:2}" -xdev \( -path "$PWD" -o -path "$room" \) -prune -o -group "$1" -print 2>/dev/null || true
}

# Prints the files of the checkout that are not in its commit, except folders of packages, builds and figures.
checkout_contents() {
  local folders='node_modules|dist|build|native/build|prebuilds|bench/peers/node_modules|bench/peers/results'
  git status --porcelain --ignored | grep -vxE "!! ($folders)/" || true
}

# Fails and lists leftovers: in the room (except caches of npm, swc, biome and Node), in the checkout, and under a group of
# this run also in folders that every program may write.
nothing_is_left() {
  local left
  left="$(
    find "$room"/{home,tmp,mbok} -mindepth 1
    find "$room/xdg" -mindepth 1 -maxdepth 1 ! -name 'swc-native-*' ! -name biome
    diff <(echo "$checkout_before") <(checkout_contents) | sed -n 's/^> /in the checkout: /p'
    if [[ -n ${MBOK_CI_GROUP-} ]]; then made_by "$MBOK_CI_GROUP" "$real_home" /tmp /var/tmp /dev/shm; fi
  )"
  [[ -z $left ]] || { printf 'left behind:\n%s\n' "$left" >&2; return 1; }
}
