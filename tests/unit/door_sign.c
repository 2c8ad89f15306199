#include "unit.h"

#include "door/sign.h"

/* Made once with openssl(1): keys on P-256 and P-384, a signature of each over the text. */
static const char p256[] = "-----BEGIN PUBLIC KEY-----\n"
                           "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXkOISIn6/kBXa71sJ7wkevqUyx6G\n"
                           "4beTexzRyboWsv76z4jNIi8E6CDpCK5VYB1ZGtALpvLh+iIt2BEzUYt3Ng==\n"
                           "-----END PUBLIC KEY-----\n";
static const char p384[] = "-----BEGIN PUBLIC KEY-----\n"
                           "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEYbcrYaoqb3wyVS1Q8Rcf2fhSNJ15qez+\n"
                           "ioS75HQ69UvN631YBTez0XowMAKbxpI+Kujx72tD7E+zP1bJIXW3Eu/ii7o+LRN7\n"
                           "Y33wBqzm4z3HHTmyiyp6m/bXpEjii+0Q\n"
                           "-----END PUBLIC KEY-----\n";
static const char text[] = "[{\"token\":\"t\"}]";
static const char by_p256[] = "MEYCIQC6cYo/fETfNjvU2lbgvzVLlkXHjDTvULMa587/"
                              "NG0QcAIhALVrGJwFAEeW9Tsg7eZ6bk8X98cPBiW4fucXXVPW54dg";
static const char by_p384[] =
    "MGYCMQCoikmILHaohXBOQHr2r/7WrMOCq1Cp0mRAfFYTPFRhwptgq80GZAlfQCzj0uetsh0CMQCCzVW4dbbAjE6Rq0s/"
    "yGqYpVXIwo0WTWnmSTLD81rwN6OwKDuZs3g2aWPgIJuClVU=";

static bool verify(const char *pem, struct str body, struct str signature) {
    struct buf der AUTO(buf_free) = BUF(4096);
    return sign_base64(signature, &der) && sign_ecdsa_ok(str_c(pem), body, buf_view(&der));
}

static void only_the_signed_text_with_the_right_key_is_believed(void **state) {
    (void)state;
    assert_true(verify(p256, str_c(text), str_c(by_p256)));
    assert_false(verify(p256, STR("[]"), str_c(by_p256)));
    assert_false(verify(p256, STR(""), str_c(by_p256)));
    assert_false(verify(p256, str_c(text), str_c(by_p384)));
    assert_false(verify(p384, str_c(text), str_c(by_p256)));
    assert_false(verify(p384, str_c(text), str_c(by_p384))); /* right, but not on P-256 */
    assert_false(verify("", str_c(text), str_c(by_p256)));
    assert_false(verify("-----BEGIN PUBLIC KEY-----", str_c(text), str_c(by_p256)));
}

static void every_changed_byte_of_a_signature_is_refused(void **state) {
    (void)state;
    struct buf der AUTO(buf_free) = BUF(4096);
    assert_true(sign_base64(str_c(by_p256), &der));
    for (size_t i = 0; i < der.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            der.p[i] = (char)(der.p[i] ^ (1 << bit));
            assert_false(sign_ecdsa_ok(str_c(p256), str_c(text), buf_view(&der)));
            der.p[i] = (char)(der.p[i] ^ (1 << bit));
        }
    for (size_t n = 0; n < der.n; n++)
        assert_false(sign_ecdsa_ok(str_c(p256), str_c(text), str_of(der.p, n)));
    assert_true(sign_ecdsa_ok(str_c(p256), str_c(text), buf_view(&der)));
}

static void base64_is_taken_strictly(void **state) {
    (void)state;
    static const char *const bad[] = {
        "", "A", "AAA", "AAAA=", "A===", "AA A", "AA\n=", "A-_A", "=AAA"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out AUTO(buf_free) = BUF(64);
        if (sign_base64(str_c(bad[i]), &out))
            fail_msg("'%s' is taken", bad[i]);
    }
    struct buf out AUTO(buf_free) = BUF(64);
    assert_true(sign_base64(STR("aGk="), &out));
    assert_true(sign_base64(STR("aGk/"), &out));
    assert_true(str_eq(buf_view(&out), STR("hihi?")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_signed_text_with_the_right_key_is_believed),
        cmocka_unit_test(every_changed_byte_of_a_signature_is_refused),
        cmocka_unit_test(base64_is_taken_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
