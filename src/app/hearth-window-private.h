/* The window's parts, shared by the files that implement it. */
#pragma once

#include "app/hearth-conversation-page.h"
#include "app/hearth-load-strip.h"
#include "app/hearth-model-chooser.h"
#include "app/hearth-window.h"

G_BEGIN_DECLS

struct _HearthWindow {
  AdwApplicationWindow parent_instance;

  AdwToastOverlay *toast_overlay;
  AdwNavigationSplitView *split_view;
  GtkSearchBar *search_bar;
  GtkSearchEntry *search_entry;
  GtkStack *sidebar_stack, *content_stack;
  GtkListBox *list;
  HearthModelChooser *chooser;
  HearthLoadStrip *load_strip;
  HearthConversationPage *page;
  GtkWidget *choose_button;
  GtkRevealer *drop_revealer;

  GSettings *settings;
  HearthLibrary *library;
  HearthModelLoader *loader;
  HearthHistory *history;
  HearthConversation *conversation; /* the one shown */
  GtkCustomFilter *filter;
  GtkFilterListModel *found;        /* the history, as the search leaves it */
  char *search_words;               /* case-folded; NULL: everything is shown */
};

/* hearth-window-drop.c: files dropped anywhere on the window. */
void hearth_window_set_up_drops(HearthWindow *self);

G_END_DECLS
