# What .ci/run and .ci/release share: steps that are timed, an empty room, and what was left outside of it.
# To be sourced, with the repository as the current folder.

# Starts the calling script anew in a group that nobody else has. Files get the group of the process that makes them, so
# leftovers of this run can be told from what others put into /tmp and the home folder meanwhile. Choosing a group takes
# root; without it leftovers are searched in the room and in the checkout only.
use_own_group() {
  local group=$((50000 + $$ % 10000))
  [[ -z ${MBOK_CI_GROUP-} ]] || return 0
  if setpriv --regid "$group" --keep-groups true 2>/dev/null; then
    MBOK_CI_GROUP="$group" exec setpriv --regid "$group" --keep-groups "$BASH" "$PWD/.ci/$(basename "$0")" "$@"
  fi
  echo 'no group for this run alone: leftovers in /tmp and in the home folder are not searched'
}

# Puts all that programs keep outside of the checkout into new empty folders below $room, which end with the script.
# Configuration stays the user's: it says where npm's registry is and which repositories git may read.
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

# Runs a command, with a heading before and its seconds after: step NAME COMMAND [ARGUMENT...]
step() {
  local name="$1" began=$SECONDS status=0
  printf '\n== %s\n' "$name"
  "${@:2}" || status=$?
  printf -- '-- %s: %d s\n' "$name" $((SECONDS - began))
  return "$status"
}

# Prints the files that belong to a group, below folders: made_by GROUP FOLDER... What others remove meanwhile is no error.
made_by() {
  find "${@:2}" -xdev \( -path "$PWD" -o -path "$room" \) -prune -o -group "$1" -print 2>/dev/null || true
}

# Prints what the checkout has beside its commit, folders of packages, builds and figures aside.
checkout_contents() {
  local folders='node_modules|dist|build|native/build|prebuilds|bench/peers/node_modules|bench/peers/results'
  git status --porcelain --ignored | grep -vxE "!! ($folders)/" || true
}

# Fails, and names it, if anything was left: in the room (but for caches of npm, swc, biome and Node, whose purpose that is), in
# the checkout, or, under a group of this run, in folders that every program may write.
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
