#include "unit.h"

#include "door/crypt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static char *path_of(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int make_dir(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/crypt-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    for (int i = 1; i <= 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.key", i);
        unlink(path_of(name));
    }
    return rmdir(dir);
}

static struct keyring *loaded(void) {
    struct keyring *k = NULL;
    struct fault f = {0};
    if (keyring_load(dir, &k, &f) != OK)
        fail_msg("%s", f.detail);
    return k;
}

static void rotate(void) {
    assert_int_equal(keyring_init(dir, true, NULL), OK);
}

static void a_second_init_keeps_the_keys(void **state) {
    (void)state;
    uint8_t first[CRYPT_HASH_LEN], again[CRYPT_HASH_LEN];
    assert_int_equal(keyring_init(dir, false, NULL), OK);
    struct keyring *a AUTO(keyring_free) = loaded();
    crypt_hash(a, "api_key", STR("sk-x"), first);
    assert_int_equal(keyring_init(dir, false, NULL), OK);
    struct keyring *b AUTO(keyring_free) = loaded();
    crypt_hash(b, "api_key", STR("sk-x"), again);
    assert_int_equal(keyring_generations(b), 1);
    assert_true(crypt_equal(first, again, sizeof first));
}

static void uses_and_generations_hash_apart(void **state) {
    (void)state;
    uint8_t key[CRYPT_HASH_LEN], token[CRYPT_HASH_LEN], joined[CRYPT_HASH_LEN];
    uint8_t all[CRYPT_GENERATIONS][CRYPT_HASH_LEN];
    rotate();
    rotate();
    struct keyring *k AUTO(keyring_free) = loaded();
    crypt_hash(k, "api_key", STR("sk-x"), key);
    crypt_hash(k, "session", STR("sk-x"), token);
    crypt_hash_all(k, "api_key", STR("sk-x"), all);
    crypt_hash(k, "api_keys", STR("k-x"), joined);
    assert_false(crypt_equal(key, token, sizeof key));
    assert_true(crypt_equal(key, all[0], sizeof key));
    assert_false(crypt_equal(key, all[1], sizeof key));
    assert_true(crypt_equal(key, all[2], sizeof key));
    assert_false(crypt_equal(key, joined, sizeof key));
}

static void sealed_texts_survive_a_rotation(void **state) {
    (void)state;
    rotate();
    struct buf sealed AUTO(buf_free) = BUF(1000), plain AUTO(buf_free) = BUF(1000);
    struct keyring *old AUTO(keyring_free) = loaded();
    crypt_seal(old, "channel", STR("provider secret"), &sealed);
    assert_int_equal(sealed.n, strlen("provider secret") + CRYPT_SEAL_OVERHEAD);
    assert_false(crypt_seal_is_old(old, buf_view(&sealed)));
    rotate();
    struct keyring *k AUTO(keyring_free) = loaded();
    assert_int_equal(keyring_generations(k), 2);
    assert_int_equal(crypt_unseal(k, "channel", buf_view(&sealed), &plain), OK);
    assert_str(buf_view(&plain), "provider secret");
    assert_true(crypt_seal_is_old(k, buf_view(&sealed)));
}

static void a_generation_that_another_process_added_is_taken_up(void **state) {
    (void)state;
    rotate();
    struct buf sealed AUTO(buf_free) = BUF(1000), plain AUTO(buf_free) = BUF(1000);
    uint8_t before[CRYPT_HASH_LEN], after[CRYPT_GENERATIONS][CRYPT_HASH_LEN];
    struct keyring *running AUTO(keyring_free) = loaded();
    unsigned first = crypt_hash(running, "api_key", STR("sk-x"), before);
    assert_false(keyring_refresh(running, first));
    rotate();
    struct keyring *other AUTO(keyring_free) = loaded();
    crypt_seal(other, "channel", STR("newer"), &sealed);
    assert_int_equal(crypt_unseal(running, "channel", buf_view(&sealed), &plain), OK);
    assert_str(buf_view(&plain), "newer");
    assert_int_equal(keyring_generations(running), 2);
    assert_true(keyring_refresh(running, first)); /* whoever hashed before asks again */
    unsigned second = crypt_hash_all(running, "api_key", STR("sk-x"), after);
    assert_false(keyring_refresh(running, second));
    assert_true(crypt_equal(before, after[1], sizeof before));
    assert_int_equal(unlink(path_of("1.key")), 0);
    assert_true(keyring_refresh(running, second));
    assert_int_equal(keyring_generations(running), 1);
    assert_int_equal(unlink(path_of("2.key")), 0);
    assert_false(keyring_refresh(running, second + 1)); /* an empty directory takes nothing away */
    assert_int_equal(keyring_generations(running), 1);
}

static void a_removed_generation_opens_nothing(void **state) {
    (void)state;
    rotate();
    struct buf sealed AUTO(buf_free) = BUF(1000), plain AUTO(buf_free) = BUF(1000);
    struct keyring *old AUTO(keyring_free) = loaded();
    crypt_seal(old, "channel", STR("x"), &sealed);
    rotate();
    assert_int_equal(unlink(path_of("1.key")), 0);
    struct keyring *k AUTO(keyring_free) = loaded();
    assert_int_equal(crypt_unseal(k, "channel", buf_view(&sealed), &plain), ERR_INTERNAL);
}

static void any_changed_byte_of_a_sealed_text_is_noticed(void **state) {
    (void)state;
    rotate();
    struct keyring *k AUTO(keyring_free) = loaded();
    struct buf sealed AUTO(buf_free) = BUF(1000), plain AUTO(buf_free) = BUF(1000);
    crypt_seal(k, "totp", STR("secret"), &sealed);
    for (size_t i = 0; i < sealed.n; i++) {
        sealed.p[i] ^= 1;
        assert_int_equal(crypt_unseal(k, "totp", buf_view(&sealed), &plain), ERR_INTERNAL);
        sealed.p[i] ^= 1;
        assert_int_equal(crypt_unseal(k, "totp", str_of(sealed.p, i), &plain), ERR_INTERNAL);
    }
    assert_int_equal(crypt_unseal(k, "channel", buf_view(&sealed), &plain), ERR_INTERNAL);
    assert_int_equal(plain.n, 0);
    assert_int_equal(crypt_unseal(k, "totp", buf_view(&sealed), &plain), OK);
}

static void keys_that_others_can_read_are_refused(void **state) {
    (void)state;
    struct keyring *k AUTO(keyring_free) = NULL;
    struct fault f = {0};
    rotate();
    assert_int_equal(chmod(path_of("1.key"), 0640), 0);
    assert_int_equal(keyring_load(dir, &k, &f), ERR_INTERNAL);
    assert_non_null(strstr(f.detail, "1.key: must not be accessible"));
    assert_int_equal(chmod(path_of("1.key"), 0600), 0);
    assert_int_equal(chmod(dir, 0750), 0);
    assert_int_equal(keyring_load(dir, &k, &f), ERR_INTERNAL);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(keyring_load(dir, &k, &f), OK);
}

static void missing_and_malformed_keys_are_named(void **state) {
    (void)state;
    struct keyring *k AUTO(keyring_free) = NULL;
    struct fault f = {0};
    assert_int_equal(keyring_load(dir, &k, &f), ERR_INTERNAL);
    assert_non_null(strstr(f.detail, "tollgatectl secrets init"));
    assert_int_equal(keyring_load("/tmp/no-such-directory", &k, &f), ERR_INTERNAL);
    assert_non_null(strstr(f.detail, "/tmp/no-such-directory"));
    int fd AUTO(base_closep) = open(path_of("1.key"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "pepper 00\n", 10), 10);
    assert_int_equal(keyring_load(dir, &k, &f), ERR_INTERNAL);
    assert_non_null(strstr(f.detail, "1.key: malformed"));
}

static void rotation_stops_before_old_rows_become_unreadable(void **state) {
    (void)state;
    for (int i = 0; i < CRYPT_GENERATIONS; i++)
        rotate();
    struct fault f = {0};
    assert_int_equal(keyring_init(dir, true, &f), ERR_INTERNAL);
    struct keyring *k AUTO(keyring_free) = loaded();
    assert_int_equal(keyring_generations(k), CRYPT_GENERATIONS);
    keyring_free(&k);
    assert_int_equal(unlink(path_of("1.key")), 0);
    rotate();
    k = loaded();
    assert_int_equal(keyring_generations(k), CRYPT_GENERATIONS);
}

static void only_the_right_password_fits_its_hash(void **state) {
    (void)state;
    char hash[128];
    assert_int_equal(crypt_password_hash(STR("correct horse"), hash), OK);
    assert_true(strncmp(hash, "$argon2id$", 10) == 0);
    assert_true(crypt_password_ok(hash, STR("correct horse")));
    assert_false(crypt_password_ok(hash, STR("correct hors")));
    assert_false(crypt_password_ok("", STR("")));
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
    crypt_init();
    const struct CMUnitTest tests[] = {
        WITH_DIR(a_second_init_keeps_the_keys),
        WITH_DIR(uses_and_generations_hash_apart),
        WITH_DIR(sealed_texts_survive_a_rotation),
        WITH_DIR(a_generation_that_another_process_added_is_taken_up),
        WITH_DIR(a_removed_generation_opens_nothing),
        WITH_DIR(any_changed_byte_of_a_sealed_text_is_noticed),
        WITH_DIR(keys_that_others_can_read_are_refused),
        WITH_DIR(missing_and_malformed_keys_are_named),
        WITH_DIR(rotation_stops_before_old_rows_become_unreadable),
        cmocka_unit_test(only_the_right_password_fits_its_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
