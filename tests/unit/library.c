/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The library: what is taken for a model and what is refused with which reason, and that the list outlives the app. */
#include "library/hearth-library.h"
#include "check.h"

#include "gguf/writer.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

static char *folder;

typedef struct {
  const char *architecture, *name, *type, *chat_template;
  guint32 tensor_type;
  gboolean has_no_tensors;
  guint32 part, n_parts; /* the part from 1; 0: not split */
} Recipe;

static char *in_folder(const char *name) {
  return g_build_filename(folder, name, NULL);
}

static GFile *make_model(const char *file_name, const Recipe *recipe) {
  g_autofree char *path = in_folder(file_name);
  em_gguf_writer *writer = em_gguf_writer_new(3);
  guint64 dims[2] = {256, 4};

  if (recipe->architecture)
    em_gguf_put_text(writer, "general.architecture", recipe->architecture);
  if (recipe->name)
    em_gguf_put_text(writer, "general.name", recipe->name);
  if (recipe->type)
    em_gguf_put_text(writer, "general.type", recipe->type);
  if (recipe->chat_template)
    em_gguf_put_text(writer, "tokenizer.chat_template", recipe->chat_template);
  if (recipe->n_parts > 0) {
    em_gguf_put_u32(writer, "split.no", recipe->part - 1);
    em_gguf_put_u32(writer, "split.count", recipe->n_parts);
  }
  if (!recipe->has_no_tensors)
    em_gguf_put_tensor(writer, recipe->part > 1 ? "output.weight" : "token_embd.weight", recipe->tensor_type, 2, dims,
                       NULL);
  CHECK_INT(em_gguf_writer_save(writer, path, NULL), EM_OK);
  em_gguf_writer_free(writer);
  return g_file_new_for_path(path);
}

static GFile *make_text(const char *file_name, const char *text) {
  g_autofree char *path = in_folder(file_name);

  CHECK(g_file_set_contents(path, text, -1, NULL));
  return g_file_new_for_path(path);
}

static void keep_result(GObject *source, GAsyncResult *result, gpointer user_data) {
  *(GAsyncResult **)user_data = g_object_ref(result);
}

static HearthModelEntry *add(HearthLibrary *library, GFile *file, GError **error) {
  g_autoptr(GAsyncResult) result = NULL;

  hearth_library_add_async(library, file, NULL, keep_result, &result);
  while (!result)
    g_main_context_iteration(NULL, TRUE);
  return hearth_library_add_finish(library, result, error);
}

static void check_refused(HearthLibrary *library, GFile *file, HearthLibraryError code, const char *word) {
  g_autoptr(GError) error = NULL;
  g_autoptr(HearthModelEntry) entry = add(library, file, &error);
  g_autofree char *path = g_file_get_path(file);
  guint n = g_list_model_get_n_items(G_LIST_MODEL(library));

  CHECK(entry == NULL);
  CHECK(error && g_error_matches(error, HEARTH_LIBRARY_ERROR, (int)code));
  CHECK(error && g_str_has_suffix(error->message, "."));
  CHECK(error && !strchr(error->message, '\n'));
  if (error && !strstr(error->message, word)) {
    fprintf(stderr, "%s: \"%s\" does not hold \"%s\"\n", path, error->message, word);
    CHECK(!"the reason names what is wrong");
  }
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), n);
}

static void test_added(void) {
  g_autofree char *list_folder = in_folder("added");
  g_autoptr(HearthLibrary) library = hearth_library_new(list_folder);
  g_autoptr(GFile) good = make_model("whatever.bin", &(Recipe){.architecture = "qwen3", .name = "Qwen3\n\x01 0.6B",
                                                               .chat_template = "{{ x }}", .tensor_type = EM_TYPE_Q4_K});
  g_autoptr(GFile) plain = make_model("my.model.gguf", &(Recipe){.architecture = "brand-new", .tensor_type = EM_TYPE_F16});
  g_autoptr(GError) error = NULL;
  g_autoptr(HearthModelEntry) entry = add(library, good, &error);
  g_autoptr(HearthModelEntry) again = NULL, other = NULL;
  g_autofree char *subtitle = NULL;

  CHECK(entry != NULL && error == NULL);
  CHECK_TEXT(hearth_model_entry_get_name(entry), "Qwen3   0.6B");
  CHECK_TEXT(hearth_model_entry_get_quality(entry), "Good quality");
  CHECK(hearth_model_entry_get_info(entry)->has_template);
  CHECK(hearth_model_entry_get_info(entry)->size_bytes > 4 * 144);
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 1);

  other = add(library, plain, &error);
  CHECK(other != NULL);
  CHECK_TEXT(hearth_model_entry_get_name(other), "my.model");
  CHECK_TEXT(hearth_model_entry_get_quality(other), "Full quality");
  CHECK(!hearth_model_entry_get_info(other)->has_template);
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 2);

  /* What was not listed before is untried until it has been loaded, each on its own. */
  CHECK(hearth_model_entry_get_untried(entry) && hearth_model_entry_get_untried(other));
  hearth_model_entry_set_untried(entry, FALSE);

  /* The same file again is no second entry, and tried as it was. */
  again = add(library, plain, &error);
  CHECK(again != NULL && hearth_model_entry_get_untried(again));
  g_clear_object(&again);
  again = add(library, good, &error);
  CHECK(again != NULL && !hearth_model_entry_get_untried(again));
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 2);
  CHECK(hearth_library_find(library, good) == again);

  /* The next start finds them, and sees what has gone. */
  g_clear_object(&library);
  g_file_delete(plain, NULL, NULL);
  library = hearth_library_new(list_folder);
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 2);
  g_clear_object(&entry);
  g_clear_object(&other);
  entry = g_list_model_get_item(G_LIST_MODEL(library), 0);
  other = g_list_model_get_item(G_LIST_MODEL(library), 1);
  CHECK_TEXT(hearth_model_entry_get_name(entry), "Qwen3   0.6B");
  CHECK_TEXT(hearth_model_entry_get_quality(entry), "Good quality");
  CHECK(hearth_model_entry_get_info(entry)->has_template);
  CHECK(!hearth_model_entry_get_missing(other));
  hearth_library_refresh(library);
  for (int i = 0; i < 500 && !hearth_model_entry_get_missing(other); i++) {
    g_main_context_iteration(NULL, FALSE);
    g_usleep(2000);
  }
  CHECK(hearth_model_entry_get_missing(other));
  CHECK(!hearth_model_entry_get_missing(entry));
  subtitle = hearth_model_entry_dup_subtitle(other);
  CHECK_TEXT(subtitle, "The file is not there any more");

  hearth_library_remove(library, other);
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 1);
  g_clear_object(&library);
  library = hearth_library_new(list_folder);
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 1);
}

static void test_refused(void) {
  g_autofree char *list_folder = in_folder("refused");
  g_autoptr(HearthLibrary) library = hearth_library_new(list_folder);
  g_autoptr(GFile) letter = make_text("letter.gguf", "Dear aunt");
  g_autoptr(GFile) empty = make_text("empty.gguf", "");
  g_autoptr(GFile) header_only = make_text("short.gguf", "GGUF\x03");
  g_autoptr(GFile) gone = g_file_new_build_filename(folder, "gone.gguf", NULL);
  g_autofree char *bare_path = in_folder("nothing-here");
  g_autoptr(GFile) directory = g_file_new_for_path(folder), bare = g_file_new_for_path(bare_path);
  g_autoptr(GFile) remote = g_file_new_for_uri("sftp://elsewhere/model.gguf");
  g_autoptr(GFile) nameless = make_model("nameless.gguf", &(Recipe){.tensor_type = EM_TYPE_F32});
  g_autoptr(GFile) eyes = make_model("eyes.gguf", &(Recipe){.architecture = "clip", .tensor_type = EM_TYPE_F32});
  g_autoptr(GFile) adapter =
      make_model("adapter.gguf", &(Recipe){.architecture = "llama", .type = "adapter", .tensor_type = EM_TYPE_F32});
  g_autoptr(GFile) words = make_model("words.gguf", &(Recipe){.architecture = "llama", .has_no_tensors = TRUE});
  g_autoptr(GFile) cut = make_model("cut.gguf", &(Recipe){.architecture = "llama", .tensor_type = EM_TYPE_F32});
  g_autoptr(GFile) part =
      make_model("big-00001-of-00003.gguf", &(Recipe){.architecture = "llama", .part = 1, .n_parts = 3});
  g_autoptr(GFile) later =
      make_model("far-00002-of-00003.gguf", &(Recipe){.architecture = "llama", .part = 2, .n_parts = 3});
  g_autofree char *pipe_path = in_folder("pipe.gguf");
  g_autofree char *cut_path = g_file_get_path(cut);
  g_autoptr(GFile) fifo = g_file_new_for_path(pipe_path);
  struct stat info;

  CHECK_INT(g_stat(cut_path, &info), 0);
  CHECK_INT(truncate(cut_path, info.st_size - 100), 0);
  CHECK_INT(mkfifo(pipe_path, 0600), 0);
  CHECK_INT(g_mkdir(bare_path, 0700), 0);

  check_refused(library, letter, HEARTH_LIBRARY_ERROR_NOT_A_MODEL, "GGUF");
  check_refused(library, empty, HEARTH_LIBRARY_ERROR_NOT_A_MODEL, "not a model file");
  check_refused(library, directory, HEARTH_LIBRARY_ERROR_NOT_A_MODEL, "more than one model");
  check_refused(library, bare, HEARTH_LIBRARY_ERROR_NOT_A_MODEL, "no model file");
  check_refused(library, fifo, HEARTH_LIBRARY_ERROR_NOT_A_MODEL, "not a model file");
  check_refused(library, header_only, HEARTH_LIBRARY_ERROR_DAMAGED, "damaged");
  check_refused(library, cut, HEARTH_LIBRARY_ERROR_DAMAGED, "not downloaded completely");
  check_refused(library, gone, HEARTH_LIBRARY_ERROR_NOT_FOUND, "not there");
  check_refused(library, remote, HEARTH_LIBRARY_ERROR_NOT_LOCAL, "disk of this computer");
  check_refused(library, nameless, HEARTH_LIBRARY_ERROR_UNSUPPORTED, "family");
  check_refused(library, eyes, HEARTH_LIBRARY_ERROR_UNSUPPORTED, "pictures");
  check_refused(library, adapter, HEARTH_LIBRARY_ERROR_UNSUPPORTED, "changes another model");
  check_refused(library, words, HEARTH_LIBRARY_ERROR_UNSUPPORTED, "vocabulary");
  check_refused(library, part, HEARTH_LIBRARY_ERROR_NOT_FOUND, "“big-00002-of-00003.gguf”, “big-00003-of-00003.gguf”");
  check_refused(library, later, HEARTH_LIBRARY_ERROR_NOT_FOUND, "far-00001-of-00003.gguf");
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 0);
}

/* Any part of a split model stands for the whole, and so does a folder with nothing else in it. */
static void test_split(void) {
  g_autofree char *list_folder = in_folder("split"), *model_folder = in_folder("дом 家 house");
  g_autoptr(HearthLibrary) library = hearth_library_new(list_folder);
  g_autoptr(GFile) in = g_file_new_for_path(model_folder);
  CHECK_INT(g_mkdir(model_folder, 0700), 0);
  g_autoptr(GFile) first = make_model("дом 家 house/whole of it-00001-of-00002.gguf",
                                      &(Recipe){.architecture = "llama", .part = 1, .n_parts = 2});
  g_autoptr(GFile) second =
      make_model("дом 家 house/whole of it-00002-of-00002.gguf", &(Recipe){.part = 2, .n_parts = 2});
  g_autoptr(HearthModelEntry) entry = add(library, second, NULL);
  g_autoptr(HearthModelEntry) again = add(library, first, NULL);
  g_autoptr(HearthModelEntry) whole = add(library, in, NULL);

  CHECK(entry && again && whole);
  CHECK(entry && g_file_equal(hearth_model_entry_get_file(entry), first));
  CHECK(whole && g_file_equal(hearth_model_entry_get_file(whole), first));
  CHECK_TEXT(hearth_model_entry_get_name(entry), "whole of it");
  CHECK(hearth_model_entry_get_info(entry)->size_bytes > 2 * 4096);
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 1);
}

static void test_list_damage(void) {
  g_autofree char *list_folder = in_folder("damaged-list");
  g_autofree char *path = g_build_filename(list_folder, "models.ini", NULL);
  g_autofree char *aside = g_strconcat(path, ".damaged", NULL);
  g_autoptr(HearthLibrary) library = NULL;

  g_mkdir(list_folder, 0700);
  CHECK(g_file_set_contents(path, "this is no list", -1, NULL));
  library = hearth_library_new(list_folder);
  CHECK_INT(g_list_model_get_n_items(G_LIST_MODEL(library)), 0);
  CHECK(g_file_test(aside, G_FILE_TEST_EXISTS));
}

static void remove_tree(const char *path) {
  g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name(dir))) {
    g_autofree char *child = g_build_filename(path, name, NULL);

    if (g_file_test(child, G_FILE_TEST_IS_DIR))
      remove_tree(child);
    else
      g_unlink(child);
  }
  g_rmdir(path);
}

int main(void) {
  folder = g_dir_make_tmp("hearth-library-XXXXXX", NULL);
  test_added();
  test_refused();
  test_split();
  test_list_damage();
  remove_tree(folder);
  g_free(folder);
  return check_done();
}
