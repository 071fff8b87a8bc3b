# To be sourced by a script that runs several commands which each end in "N passed, N failed" and adds these up.
# BAZEL names the command, with startup options if need be; the caller's directory is the repository's root.

export BAZEL="${BAZEL:-bazel}"
read -r -a bazel <<<"$BAZEL"
passed=0
failed=0
phases_folder=$(mktemp -d)
trap 'rm -rf "$phases_folder"' EXIT

phase() { # phase NAME COMMAND...
    local name=$1 last
    shift
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee "$phases_folder/log"
    last=$(tail -n 1 "$phases_folder/log")
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
    else
        echo "FAILED: $name did not end"
        failed=$((failed + 1))
    fi
}

bazel_test() { # bazel_test OPTION_OR_TARGET...: for `phase`
    local status=0 events=$phases_folder/events.json
    rm -f "$events"
    "${bazel[@]}" test --keep_going --noshow_progress --build_event_json_file="$events" "$@" || status=$?
    python3 tools/count_tests.py "$events" "$status"
}

end_of_phases() { # prints the sums; its status says whether nothing failed
    echo
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
