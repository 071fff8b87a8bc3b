# shellcheck shell=bash
# To be sourced by scripts that need Debian packages of their own; `self` is the script's name in messages.
: "${self:?the name of the script}"

# install_missing PACKAGE...: installs those of this system's packages that are missing (as root, or with sudo).
install_missing() {
    local package missing=() as_root=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    echo "$self: installing with apt-get: ${missing[*]}"
    "${as_root[@]}" apt-get update -q -o DPkg::Lock::Timeout=600 &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
            -o DPkg::Lock::Timeout=600 "${missing[@]}"
}
